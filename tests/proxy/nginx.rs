//! An nginx with as few settings as it can be a proxy with.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;
use std::{env, fs};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// How long nginx may take to start, or to read its settings again.
const LIMIT: Duration = Duration::from_secs(20);

/// Where nginx connects from when it tells its clients' addresses, so that no client has the same address.
pub(crate) const SOURCE: &str = "127.0.0.9";

/// A running nginx, which stops when it is dropped.
pub(crate) struct Nginx {
    folder: PathBuf,
    address: SocketAddr,
    master: Child,
}

impl Nginx {
    /// Starts one that passes requests on. `settings` are of its main context.
    pub(crate) async fn start(name: &str, settings: &str, upstream: SocketAddr) -> Self {
        let folder = env::var("PROXY_FOLDER").expect("tests/proxy/run sets it");
        let folder = Path::new(&folder).join(name);
        fs::create_dir(&folder).unwrap();
        // It cannot be asked to take a free port and tell which. One that was free a moment ago may
        // be somebody else's now, if seldom.
        for _ in 0..3 {
            let address = free_address();
            fs::write(
                folder.join("nginx.conf"),
                configuration(&folder, settings, address, upstream),
            )
            .unwrap();
            let master = nginx(&folder).spawn().expect("tests/proxy/run installs nginx");
            let mut nginx = Self { folder: folder.clone(), address, master };
            if timeout(LIMIT, nginx.is_up()).await.expect("nginx starts in time") {
                return nginx;
            }
            println!("nginx does not start: {}", nginx.log());
        }
        panic!("nginx does not start");
    }

    /// A path of the proxy, as an address of the scheme.
    pub(crate) fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://{}{path}", self.address)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has it read its settings again, and waits until new connections get to a new worker.
    pub(crate) async fn reload(&self) {
        let before = self.worker().await.expect("a worker answers");
        let status = nginx(&self.folder).args(["-s", "reload"]).status().unwrap();
        assert!(status.success(), "{}", self.log());
        let reloaded = async {
            while self.worker().await.is_none_or(|worker| worker == before) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LIMIT, reloaded).await.expect("nginx reloads in time");
    }

    /// What it found worth telling.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("error.log")).unwrap_or_default()
    }

    /// Waits until it answers; `false` if it ends instead.
    async fn is_up(&mut self) -> bool {
        while self.worker().await.is_none() {
            if self.master.try_wait().unwrap().is_some() {
                return false;
            }
            sleep(Duration::from_millis(20)).await;
        }
        true
    }

    /// The process that answers requests now, if it is one of this nginx.
    async fn worker(&self) -> Option<String> {
        let mut tcp = TcpStream::connect(self.address).await.ok()?;
        tcp.write_all(b"GET /worker HTTP/1.0\r\n\r\n").await.ok()?;
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        let (folder, worker) = body.rsplit_once(' ')?;
        (Path::new(folder) == self.folder).then(|| worker.to_owned())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master takes its workers along, which it cannot if it is killed. It may have ended.
        let _ = nginx(&self.folder).args(["-s", "stop"]).status();
        let _ = self.master.wait();
    }
}

fn nginx(folder: &Path) -> Command {
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder).args(["-e", "error.log", "-c", "nginx.conf"]);
    command
}

/// Settings that pass bytes on from an address, after a PROXY protocol header.
pub(crate) fn stream(address: SocketAddr, upstream: SocketAddr) -> String {
    let output = Command::new("nginx").arg("-V").output().expect("tests/proxy/run installs nginx");
    let built = String::from_utf8(output.stderr).unwrap();
    let module = match built.split_once("--modules-path=") {
        Some((_, path)) if built.contains("--with-stream=dynamic") => {
            let path = path.split_whitespace().next().unwrap();
            format!("load_module {path}/ngx_stream_module.so;")
        }
        _ => String::new(),
    };
    let server =
        format!("listen {address}; proxy_pass {upstream}; proxy_bind {SOURCE}; proxy_protocol on;");
    format!("{module} stream {{ server {{ {server} }} }}")
}

pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}

/// Several ways to pass requests on, by path. Besides them there is only what keeps nginx within its
/// folder.
fn configuration(
    folder: &Path,
    settings: &str,
    address: SocketAddr,
    upstream: SocketAddr,
) -> String {
    let folder = folder.display();
    format!(
        r#"
        daemon off;
        pid nginx.pid;
        {settings}
        events {{}}
        http {{
            access_log off;
            client_body_temp_path body;
            proxy_temp_path proxy;
            fastcgi_temp_path fastcgi;
            uwsgi_temp_path uwsgi;
            scgi_temp_path scgi;

            # As https://nginx.org/en/docs/http/websocket.html has it.
            map $http_upgrade $connection_upgrade {{
                default upgrade;
                ''      close;
            }}
            server {{
                listen {address};
                location /mapped {{
                    proxy_pass http://{upstream};
                    proxy_http_version 1.1;
                    proxy_set_header Upgrade $http_upgrade;
                    proxy_set_header Connection $connection_upgrade;
                }}
                # The same page's shorter form: every request asks for an upgrade.
                location /short {{
                    proxy_pass http://{upstream};
                    proxy_http_version 1.1;
                    proxy_set_header Upgrade $http_upgrade;
                    proxy_set_header Connection "upgrade";
                }}
                # The server is told who asks.
                location /forwarded {{
                    proxy_pass http://{upstream};
                    proxy_bind {SOURCE};
                    proxy_http_version 1.1;
                    proxy_set_header Upgrade $http_upgrade;
                    proxy_set_header Connection $connection_upgrade;
                    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                }}
                # Nobody thought of WebSocket.
                location /plain {{
                    proxy_pass http://{upstream};
                }}
                location = /worker {{
                    return 200 "{folder} $pid";
                }}
            }}
        }}
        "#
    )
}
