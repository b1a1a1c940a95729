//! tokio-tungstenite as a user would take it, with the same sockets as the WebSocket transport has.

use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, accept_async_with_config, client_async_with_config};

pub(crate) type Socket = WebSocketStream<TcpStream>;

/// Small buffers, as for a server with many clients.
fn config() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(4 << 10).write_buffer_size(16 << 10)
}

/// The two ends of a connection over loopback TCP.
pub(crate) async fn pair() -> (Socket, Socket) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let dial = async {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("an option");
        let url = format!("ws://{address}");
        client_async_with_config(url, stream, Some(config())).await.expect("a handshake").0
    };
    let accept = async {
        let (stream, _) = listener.accept().await.expect("a connection");
        stream.set_nodelay(true).expect("an option");
        accept_async_with_config(stream, Some(config())).await.expect("a handshake")
    };
    tokio::join!(dial, accept)
}
