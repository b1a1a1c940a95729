//! A transport of one's own: Unix sockets, in two ways. `with_framed` takes a codec of `tokio_util`
//! for frames and the adapter for links; `by_hand` needs neither, only plain `async fn`s. The rest is
//! the proof that they work: the kit for transports, and two logs that meet over each.
//!
//! `cargo run --example custom_transport` exits with an error if they do not.

/// Any `Stream` and `Sink` of frames is a link.
#[cfg(unix)]
pub mod with_framed {
    use std::{io, path::PathBuf};

    use logux_sync::transports::{Format, Link, SinkSender, StreamReceiver};
    use logux_sync::{Listener, Transport, framed};
    use tokio::net::{UnixListener, UnixStream};
    use tokio_util::codec::{Framed, LengthDelimitedCodec};

    /// Each frame after its length, in four bytes.
    type Frames = Framed<UnixStream, LengthDelimitedCodec>;
    type UnixLink = Link<SinkSender<Frames>, StreamReceiver<Frames>>;

    fn link(stream: UnixStream, max_frame: usize) -> UnixLink {
        let codec = LengthDelimitedCodec::builder().max_frame_length(max_frame).new_codec();
        framed(Framed::new(stream, codec))
    }

    /// The two ends of a new socket at this path.
    pub fn listen(path: PathBuf) -> io::Result<(Unix, UnixServer)> {
        let server = UnixServer(UnixListener::bind(&path)?);
        Ok((Unix(path), server))
    }

    /// Dials the socket of this path.
    #[derive(Clone, Debug)]
    pub struct Unix(PathBuf);

    impl Transport for Unix {
        type Sender = SinkSender<Frames>;
        type Receiver = StreamReceiver<Frames>;

        async fn open(&mut self, _: Format, max_frame: usize) -> io::Result<UnixLink> {
            Ok(link(UnixStream::connect(&self.0).await?, max_frame))
        }
    }

    /// Accepts who dials.
    #[derive(Debug)]
    pub struct UnixServer(UnixListener);

    impl Listener for UnixServer {
        type Sender = SinkSender<Frames>;
        type Receiver = StreamReceiver<Frames>;

        async fn accept(&mut self, _: &[Format], max_frame: usize) -> io::Result<UnixLink> {
            Ok(link(self.0.accept().await?.0, max_frame))
        }
    }
}

/// The same frames, read and written by hand.
#[cfg(unix)]
pub mod by_hand {
    use std::{io, path::PathBuf};

    use bytes::{Buf, Bytes, BytesMut};
    use logux_sync::transports::{Format, FrameReceiver, FrameSender, Link, LinkInfo};
    use logux_sync::{Listener, Transport};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};
    use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
    use tokio::net::{UnixListener, UnixStream};

    /// How many bytes tell a frame's length.
    const PREFIX: usize = 4;

    type UnixLink = Link<UnixSender, UnixReceiver>;

    fn link(stream: UnixStream) -> UnixLink {
        let (reader, writer) = stream.into_split();
        Link {
            sender: UnixSender { writer: BufWriter::new(writer) },
            receiver: UnixReceiver { reader, read: BytesMut::new() },
            info: LinkInfo::default(),
        }
    }

    /// Writes frames.
    #[derive(Debug)]
    pub struct UnixSender {
        writer: BufWriter<OwnedWriteHalf>,
    }

    impl FrameSender for UnixSender {
        async fn send(&mut self, frame: Bytes) -> io::Result<()> {
            let length = u32::try_from(frame.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
            self.writer.write_u32(length).await?;
            self.writer.write_all(&frame).await
        }

        async fn flush(&mut self) -> io::Result<()> {
            self.writer.flush().await
        }

        async fn close(mut self) -> io::Result<()> {
            self.writer.shutdown().await
        }
    }

    /// Reads frames.
    #[derive(Debug)]
    pub struct UnixReceiver {
        reader: OwnedReadHalf,
        /// What came and is no whole frame yet. It stays when a `receive` is dropped.
        read: BytesMut,
    }

    impl UnixReceiver {
        /// The next frame, if it is there as a whole.
        fn next(&mut self, max_frame: usize) -> io::Result<Option<Bytes>> {
            let Some((prefix, rest)) = self.read.split_first_chunk::<PREFIX>() else {
                return Ok(None);
            };
            let length = u32::from_be_bytes(*prefix) as usize;
            if length > max_frame {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the frame is too long"));
            }
            if rest.len() < length {
                return Ok(None);
            }
            self.read.advance(PREFIX);
            Ok(Some(self.read.split_to(length).freeze()))
        }
    }

    impl FrameReceiver for UnixReceiver {
        async fn receive(&mut self, max_frame: usize) -> io::Result<Option<Bytes>> {
            loop {
                if let Some(frame) = self.next(max_frame)? {
                    return Ok(Some(frame));
                }
                self.read.reserve(8 << 10);
                match self.reader.read_buf(&mut self.read).await? {
                    0 if self.read.is_empty() => return Ok(None),
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    _ => {}
                }
            }
        }
    }

    /// The two ends of a new socket at this path.
    pub fn listen(path: PathBuf) -> io::Result<(Unix, UnixServer)> {
        let server = UnixServer(UnixListener::bind(&path)?);
        Ok((Unix(path), server))
    }

    /// Dials the socket of this path.
    #[derive(Clone, Debug)]
    pub struct Unix(PathBuf);

    impl Transport for Unix {
        type Sender = UnixSender;
        type Receiver = UnixReceiver;

        async fn open(&mut self, _: Format, _: usize) -> io::Result<UnixLink> {
            Ok(link(UnixStream::connect(&self.0).await?))
        }
    }

    /// Accepts who dials.
    #[derive(Debug)]
    pub struct UnixServer(UnixListener);

    impl Listener for UnixServer {
        type Sender = UnixSender;
        type Receiver = UnixReceiver;

        async fn accept(&mut self, _: &[Format], _: usize) -> io::Result<UnixLink> {
            Ok(link(self.0.accept().await?.0))
        }
    }
}

#[cfg(unix)]
#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    proof::prove("with Framed", with_framed::listen).await?;
    proof::prove("by hand", by_hand::listen).await
}

#[cfg(not(unix))]
fn main() {
    println!("there are no Unix sockets here");
}

#[cfg(unix)]
mod proof {
    use std::error::Error;
    use std::path::PathBuf;
    use std::time::Duration;
    use std::{env, fs, io};

    use futures_util::StreamExt;
    use logux_sync::{
        Added, ClientSync, Json, Listener, Log, MemoryStore, Server, State, Transport, conformance,
    };
    use tokio::time::timeout;

    pub(super) async fn prove<T: Transport, L: Listener>(
        name: &str,
        listen: impl Fn(PathBuf) -> io::Result<(T, L)>,
    ) -> Result<(), Box<dyn Error>> {
        let folder = Folder::new()?;
        let (unix, server) = listen(folder.0.join("kit"))?;
        conformance::transport(unix, server).await;
        println!("{name}: the contract of transports holds");

        let (unix, server) = listen(folder.0.join("sync"))?;
        timeout(Duration::from_secs(10), two_logs_meet(unix, server)).await??;
        println!("{name}: two logs met");
        Ok(())
    }

    async fn two_logs_meet(
        transport: impl Transport,
        listener: impl Listener,
    ) -> Result<(), Box<dyn Error>> {
        let here = Log::<String>::open("10:phone".parse()?, MemoryStore::new()).await?;
        let there = Log::<String>::open("server".parse()?, MemoryStore::new()).await?;
        here.add("hello".to_owned()).await?;
        there.add("welcome".to_owned()).await?;
        let server = Server::new(&there, Json, listener).start();
        let client = ClientSync::new(&here, Json, transport).start();
        for log in [&here, &there] {
            let mut entries = log.follow(Added::ZERO).take(2);
            while let Some(entry) = entries.next().await {
                let entry = entry?;
                println!("  {} has {:?} of {}", log.node_id(), entry.event, entry.meta.id.node());
            }
        }
        client.wait_for(State::Synchronized).await?;
        client.close().await?;
        server.shutdown(Duration::from_secs(5)).await;
        Ok(())
    }

    /// A folder of a name that nobody has, which goes when it is dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> io::Result<Self> {
            let path = env::temp_dir().join(format!("logux-{:016x}", fastrand::u64(..)));
            fs::create_dir(&path)?;
            Ok(Self(path))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            if let Err(error) = fs::remove_dir_all(&self.0) {
                eprintln!("{} stays: {error}", self.0.display());
            }
        }
    }
}

#[cfg(all(test, unix))]
#[test]
fn both_transports_keep_the_contract_and_two_logs_meet_over_each() {
    main().unwrap();
}
