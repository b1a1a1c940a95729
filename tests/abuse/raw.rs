//! A client of which each byte is chosen.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf,
    WriteHalf, split,
};
use tokio::time::{sleep, timeout};

use crate::honest::LIMIT;

pub(crate) const MEDIA_TYPE: (&str, &str) = ("content-type", "application/vnd.logux.batch+json");

/// Of the protocol of long-poll; where a session is opened.
pub(crate) const VERSION: (&str, &str) = ("logux-version", "2");

pub(crate) type Headers<'a> = &'a [(&'a str, &'a str)];

pub(crate) struct Raw {
    reader: Reader,
    writer: Writer,
}

type Reader = BufReader<ReadHalf<Box<dyn ByteStream>>>;
type Writer = WriteHalf<Box<dyn ByteStream>>;

/// Plain TCP, or TLS over it.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

impl Raw {
    pub(crate) fn over(stream: impl ByteStream + 'static) -> Self {
        let (reader, writer) = split(Box::new(stream) as Box<dyn ByteStream>);
        Self { reader: BufReader::new(reader), writer }
    }

    /// Sends bytes; as many as the server takes.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await;
    }

    /// Sends bytes. Tells whether there is still somebody who takes them.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        write(&mut self.writer, bytes.as_ref()).await.is_ok()
    }

    /// Sends bytes one by one, without end, until an answer comes, or the end.
    pub(crate) async fn trickle_until_answered(&mut self, byte: u8) {
        let coming = async {
            tokio::select! {
                _ = self.reader.fill_buf() => {}
                () = trickle(&mut self.writer, byte) => {}
            }
        };
        timeout(LIMIT, coming).await.expect("who sends byte by byte is not cut");
    }

    /// Sends bytes one by one, without end, until the server closes the WebSocket.
    pub(crate) async fn trickle_until_closed(&mut self, byte: u8) {
        let closing = async {
            tokio::select! {
                () = read_close(&mut self.reader) => {}
                () = trickle(&mut self.writer, byte) => {}
            }
        };
        timeout(LIMIT, closing).await.expect("who sends byte by byte is not cut");
    }

    /// Waits until the server closes the WebSocket.
    pub(crate) async fn closed(&mut self) {
        let closing = read_close(&mut self.reader);
        timeout(LIMIT, closing).await.expect("the WebSocket stays open");
    }

    /// Waits until the server is gone, without an answer.
    pub(crate) async fn cut(&mut self) {
        let more = self.try_answer().await;
        assert!(more.is_none(), "{more:?}");
    }

    /// The next answer; `None` where the server ends without one. There is no half an answer.
    pub(crate) async fn try_answer(&mut self) -> Option<Answer> {
        timeout(LIMIT, read_answer(&mut self.reader))
            .await
            .expect("the server neither answers nor ends")
    }

    pub(crate) async fn answer(&mut self) -> Answer {
        self.try_answer().await.expect("the server ends without an answer")
    }

    /// Waits until the server ends the connection, in order: one that is reset may take back what the
    /// server said last.
    pub(crate) async fn ended(&mut self) {
        let more = timeout(LIMIT, self.reader.fill_buf()).await.expect("the server does not end");
        assert_eq!(more.map_err(|error| error.kind()).map(String::from_utf8_lossy), Ok("".into()));
    }

    /// Waits until the server is gone, whatever it says before.
    pub(crate) async fn gone(&mut self) {
        let ending = async {
            let mut space = [0; 4 << 10];
            while self.reader.read(&mut space).await.is_ok_and(|count| count > 0) {}
        };
        timeout(LIMIT, ending).await.expect("the server does not end");
    }

    pub(crate) async fn ask(&mut self, request: &[u8]) -> Answer {
        self.send(request).await;
        self.answer().await
    }

    /// Sends the same request many times without waiting for an answer, and reads the answers.
    pub(crate) async fn ask_in_a_row(&mut self, request: &[u8], count: usize) -> Vec<Answer> {
        let Self { reader, writer } = self;
        let sending = async {
            for _ in 0..count {
                write(writer, request).await.unwrap();
            }
        };
        let reading = async {
            let mut answers = Vec::new();
            while answers.len() < count {
                answers.push(read_answer(reader).await.expect("the server ends in between"));
            }
            answers
        };
        timeout(LIMIT, join(sending, reading)).await.expect("not all are answered").1
    }
}

/// Writes all, and keeps nothing back, as TLS may.
async fn write(writer: &mut Writer, bytes: &[u8]) -> io::Result<()> {
    writer.write_all(bytes).await?;
    writer.flush().await
}

async fn line(reader: &mut Reader) -> Option<String> {
    let mut line = Vec::new();
    match reader.read_until(b'\n', &mut line).await {
        Ok(0) => None,
        Ok(_) => {
            let line = String::from_utf8(line).unwrap();
            Some(line.strip_suffix("\r\n").expect("a line is whole").to_owned())
        }
        Err(error) if is_cut(&error) && line.is_empty() => None,
        Err(error) => panic!("{error} after {line:?}"),
    }
}

/// By TLS, a connection that ends without a word is cut, too.
fn is_cut(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof)
}

async fn read_answer(reader: &mut Reader) -> Option<Answer> {
    let first = line(reader).await?;
    let status = first.strip_prefix("HTTP/1.1 ").expect("an answer").get(..3).unwrap();
    let status = status.parse().unwrap();
    let mut headers = HeaderMap::new();
    loop {
        let line = line(reader).await.expect("a head is whole");
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(": ").unwrap();
        let name: HeaderName = name.parse().unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    let length = headers.get("content-length").map(|length| length.to_str().unwrap());
    let length = match length {
        Some(length) => length.parse().unwrap(),
        None if matches!(status, 101 | 204) => 0,
        None => panic!("an answer of {status} does not tell its length"),
    };
    let mut body = vec![0; length];
    reader.read_exact(&mut body).await.expect("a body is whole");
    Some(Answer { status, headers, body })
}

async fn trickle(writer: &mut Writer, byte: u8) {
    const PAUSE: Duration = Duration::from_millis(20);

    loop {
        sleep(PAUSE).await;
        let _ = write(writer, &[byte]).await;
    }
}

/// Reads a WebSocket up to the frame that closes it, or the end.
async fn read_close(reader: &mut Reader) {
    const CLOSE: u8 = 0x88;

    while let Ok([kind, length]) = read(reader).await {
        let length = match length {
            126 => u64::from(reader.read_u16().await.unwrap()),
            127 => reader.read_u64().await.unwrap(),
            short => short.into(),
        };
        let mut payload = vec![0; length.try_into().unwrap()];
        reader.read_exact(&mut payload).await.expect("a frame is whole");
        if kind == CLOSE {
            return;
        }
    }
}

async fn read<const N: usize>(reader: &mut Reader) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// A POST with a body, whose length is told.
pub(crate) fn post(headers: Headers<'_>, body: &[u8]) -> Vec<u8> {
    let length = body.len().to_string();
    let mut request = head("POST", &[headers, &[("content-length", &length)]].concat());
    request.extend(body);
    request
}

pub(crate) fn head(method: &str, headers: Headers<'_>) -> Vec<u8> {
    let mut head = format!("{method} / HTTP/1.1\r\nhost: localhost\r\n");
    for (name, value) in headers {
        head.extend([name, ": ", value, "\r\n"]);
    }
    head.push_str("\r\n");
    head.into()
}

/// What asks for a WebSocket.
pub(crate) const UPGRADE: [(&str, &str); 4] = [
    ("connection", "upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// The first bytes of a WebSocket frame of text, of less than 64 KiB, masked with zeros.
pub(crate) fn frame_header(length: u16) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    vec![0x81, 0xfe, high, low, 0, 0, 0, 0]
}

pub(crate) fn frame(text: &str) -> Vec<u8> {
    [frame_header(text.len().try_into().unwrap()), text.into()].concat()
}

/// A body of one long-poll frame.
pub(crate) fn packed(text: &str) -> Vec<u8> {
    [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat()
}

/// What asks for a long-poll session; of its own, each time.
pub(crate) fn create(headers: Headers<'_>) -> Vec<u8> {
    static NONCES: AtomicU64 = AtomicU64::new(0);

    // The last of the digits has bits that are not used, and are zero.
    let nonce = format!("{:021}A", NONCES.fetch_add(1, Ordering::Relaxed));
    post(&[&[MEDIA_TYPE, VERSION, ("logux-nonce", &nonce)], headers].concat(), b"")
}

/// How a node introduces itself.
pub(crate) fn connect(name: &str) -> String {
    format!(r#"["connect",7,"{name}",0]"#)
}
