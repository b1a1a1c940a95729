//! As much HTTP as the files of one page need. A real site has a web server for that.

use std::io;

use logux_sync::Log;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What is at each path.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) log: Log<Value>,
    /// Where the page finds the server.
    pub(crate) sync: String,
}

impl Site {
    pub(crate) async fn serve(self, listener: TcpListener) -> io::Result<()> {
        loop {
            let (stream, _) = listener.accept().await?;
            let site = self.clone();
            // A browser that goes away is no trouble of ours.
            tokio::spawn(async move { site.answer(stream).await });
        }
    }

    async fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        let (from, mut to) = stream.split();
        let mut lines = BufReader::new(from.take(16 << 10)).lines();
        let request = lines.next_line().await?.unwrap_or_default();
        while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}

        let path = request.strip_prefix("GET ").and_then(|rest| rest.split([' ', '?']).next());
        let (status, kind, body) = match self.get(path.unwrap_or_default()).await {
            Ok((kind, body)) => ("200 OK", kind, body),
            Err(error) => ("404 Not Found", "text/plain", error.to_string().into_bytes()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            body.len(),
        );
        to.write_all(head.as_bytes()).await?;
        to.write_all(&body).await?;
        to.shutdown().await
    }

    async fn get(&self, path: &str) -> io::Result<(&'static str, Vec<u8>)> {
        Ok(match path {
            "/" => ("text/html", file("page/index.html").await?),
            "/app.js" => ("text/javascript", file("built/app.js").await?),
            "/sync" => ("text/plain", self.sync.clone().into_bytes()),
            "/log" => ("application/json", self.all().await?.to_string().into_bytes()),
            _ => return Err(io::Error::other("there is no such page")),
        })
    }

    /// The log, oldest first, as JavaScript's nodes write it.
    async fn all(&self) -> io::Result<Value> {
        let entries = self.log.entries_created_after(None, usize::MAX).await;
        let entries = entries.map_err(io::Error::other)?;
        let entries = entries
            .iter()
            .map(|entry| json!([entry.event, { "id": entry.meta.id.to_protocol_5() }]));
        Ok(entries.collect())
    }
}

async fn file(name: &str) -> io::Result<Vec<u8>> {
    let path = format!("{}/examples/web/{name}", env!("CARGO_MANIFEST_DIR"));
    tokio::fs::read(&path).await.map_err(|error| {
        io::Error::new(error.kind(), format!("{path}: {error}; was the page built?"))
    })
}
