//! The header of the PROXY protocol, of either version
//! (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Begins a header of version 2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The longest header of version 1, in bytes.
const MAX_LINE: usize = 107;

/// How much may follow the beginning of version 2, in bytes: addresses, and what else the proxy knows.
const MAX_REST: usize = 16 << 10;

/// How much of that is looked at.
const ADDRESSES: usize = 36;

/// Reads a header, and no byte more. Answers the address of the client; `None` where the proxy speaks for
/// itself, or does not know the address.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    // No header of either version is shorter.
    let mut beginning = [0; SIGNATURE.len()];
    stream.read_exact(&mut beginning).await?;
    if beginning == SIGNATURE {
        version_2(stream).await
    } else {
        version_1(stream, &beginning).await
    }
}

async fn version_1(
    stream: &mut (impl AsyncRead + Unpin),
    beginning: &[u8],
) -> io::Result<Option<SocketAddr>> {
    if !beginning.starts_with(b"PROXY ") {
        return Err(wrong());
    }
    let mut line = beginning.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() == MAX_LINE {
            return Err(wrong());
        }
        line.push(stream.read_u8().await?);
    }
    let line = std::str::from_utf8(&line).map_err(|_| wrong())?;
    let line = line.strip_suffix("\r\n").ok_or_else(wrong)?;
    let mut fields = line.split(' ').skip(1);
    let addresses: fn(&str) -> Option<IpAddr> = match fields.next() {
        Some("UNKNOWN") => return Ok(None),
        Some("TCP4") => |text| text.parse::<Ipv4Addr>().ok().map(Into::into),
        Some("TCP6") => |text| text.parse::<Ipv6Addr>().ok().map(Into::into),
        _ => return Err(wrong()),
    };
    let fields = [fields.next(), fields.next(), fields.next(), fields.next(), fields.next()];
    let [Some(source), Some(target), Some(port), Some(target_port), None] = fields else {
        return Err(wrong());
    };
    match (addresses(source), addresses(target), decimal(port), decimal(target_port)) {
        (Some(source), Some(_), Some(port), Some(_)) => Ok(Some(SocketAddr::new(source, port))),
        _ => Err(wrong()),
    }
}

/// A port in its one spelling.
fn decimal(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port: &u16| port.to_string() == text)
}

async fn version_2(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    const LOCAL: u8 = 0x20;
    const PROXY: u8 = 0x21;

    let (command, family) = (stream.read_u8().await?, stream.read_u8().await?);
    let length = usize::from(stream.read_u16().await?);
    if length > MAX_REST {
        return Err(wrong());
    }
    let mut addresses = [0; ADDRESSES];
    let told = &mut addresses[..length.min(ADDRESSES)];
    stream.read_exact(told).await?;
    let mut rest = stream.take((length - told.len()) as u64);
    tokio::io::copy(&mut rest, &mut tokio::io::sink()).await?;
    if rest.limit() > 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let (ip, port): (IpAddr, _) = match (command, family) {
        // Of the proxy's own; not known, or not of a network.
        (LOCAL, _) | (PROXY, 0x00 | 0x31 | 0x32) => return Ok(None),
        // TCP over IPv4: two addresses, then two ports.
        (PROXY, 0x11) if length >= 12 => {
            (first::<4>(&addresses).into(), u16::from_be_bytes(first(&addresses[8..])))
        }
        // TCP over IPv6.
        (PROXY, 0x21) if length >= 36 => {
            (first::<16>(&addresses).into(), u16::from_be_bytes(first(&addresses[32..])))
        }
        _ => return Err(wrong()),
    };
    Ok(Some(SocketAddr::new(ip, port)))
}

/// So many bytes that others begin with. There are that many.
fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    std::array::from_fn(|index| bytes[index])
}

fn wrong() -> io::Error {
    let message = "the connection does not begin with a PROXY protocol header";
    io::Error::new(io::ErrorKind::InvalidData, message)
}
