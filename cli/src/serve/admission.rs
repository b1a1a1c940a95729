//! Who may connect: by a list of tokens, by a program that is asked, or everyone.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use logux_sync::{Access, CallbackError, Login, Value};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::Semaphore;

use super::backend::Backend;
use super::logs::{Logs, is_valid};
use crate::failure::Failure;
use crate::store::cannot;

/// How many bytes of a token command's answer are read.
const MAX_ANSWER: u64 = 64 << 10;

/// Stands behind the token of another server.
const RELAY: &str = "relay";

/// So many token commands run at once.
const AT_ONCE: usize = 64;

/// Who may connect.
#[derive(Clone)]
pub(super) enum Admission {
    /// Users and their tokens. They change when the file is read again.
    Tokens { list: Arc<RwLock<Tokens>>, file: Option<PathBuf> },
    /// A program that answers for each client.
    Command { program: PathBuf, places: Arc<Semaphore> },
    /// The back end of an app.
    Backend(Backend),
    /// Everyone who reaches the port, but of pages only those of these origins and of this machine.
    Everyone { origins: Arc<[String]>, from_anywhere: bool },
}

/// The tokens of each user; a relay may bring the events of all.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    of_users: HashMap<String, Vec<Token>>,
}

#[derive(Debug, PartialEq, Eq)]
struct Token {
    secret: String,
    is_relay: bool,
    /// Whose log it is for.
    tenant: Option<String>,
}

impl Admission {
    /// Those of a file.
    pub(super) fn of_file(path: &Path) -> Result<Self, Failure> {
        let list = Arc::new(RwLock::new(Tokens::of_file(path)?));
        Ok(Self::Tokens { list, file: Some(path.to_owned()) })
    }

    /// A program that is asked.
    pub(super) fn of_program(program: PathBuf) -> Self {
        Self::Command { program, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// Those of a text, as the environment has it.
    pub(super) fn of_text(text: &str) -> Result<Self, Failure> {
        let list = Tokens::parse(text)
            .map_err(|wrong| Failure::usage(format!("LOGUX_SYNC_TOKENS, {wrong}")))?;
        Ok(Self::Tokens { list: Arc::new(RwLock::new(list)), file: None })
    }

    /// Reads the file of tokens again, and answers of which users a token is not valid any more, or not for the same.
    /// A file that is wrong changes nothing.
    pub(super) fn reload(&self) -> Result<Vec<String>, Failure> {
        let Self::Tokens { list, file: Some(path) } = self else { return Ok(Vec::new()) };
        let tokens = Tokens::of_file(path)?;
        let mut list = list.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *list, tokens).of_users.into_iter();
        let has_lost = |(user, tokens): &(String, Vec<Token>)| {
            let now = list.of_users.get(user).map_or(&[][..], Vec::as_slice);
            tokens.iter().any(|token| !now.contains(token))
        };
        Ok(before.filter(has_lost).map(|(user, _)| user).collect())
    }

    /// Who a client is, and whose log it is led to.
    pub(super) async fn ask(
        self,
        login: Login,
        logs: Logs,
    ) -> Result<Access<Value>, CallbackError> {
        let Granted { access, tenant } = self.decide(login).await?;
        let Some(tenant) = tenant else { return Ok(access) };
        let log = logs.of_tenant(&tenant).await.inspect_err(|error| {
            tracing::error!(tenant, %error, "the log of a tenant cannot be opened; clients try again");
        });
        Ok(access.log(log.map_err(|error| error.to_string())?))
    }

    /// Who a client of an app is.
    pub(super) async fn ask_for_app(self, login: Login) -> Result<Access<Value>, CallbackError> {
        let Granted { access, tenant } = self.decide(login).await?;
        if let Some(tenant) = tenant {
            let what =
                "an app has one log: a client that has a token for another one is not let in";
            tracing::error!(tenant, what);
            return Err(what.into());
        }
        Ok(access)
    }

    /// Whether some clients are led to logs of their own.
    pub(super) fn has_tenants(&self) -> bool {
        let Self::Tokens { list, .. } = self else { return false };
        let list = list.read().unwrap_or_else(PoisonError::into_inner);
        list.of_users.values().flatten().any(|token| token.tenant.is_some())
    }

    async fn decide(&self, login: Login) -> Result<Granted, CallbackError> {
        Ok(match self {
            Self::Everyone { origins, from_anywhere } => {
                if !from_anywhere && is_from_elsewhere(&login) {
                    let address = login.link.address.map(|address| address.ip());
                    tracing::warn!(
                        address = address.map(tracing::field::display),
                        "a client of another machine is refused: give users tokens by --tokens, or say --allow-everyone"
                    );
                    return Ok(Granted::nobody());
                }
                let origin = login.link.headers.get("origin");
                if let Some(origin) = origin.filter(|origin| !may_ask(origin.as_bytes(), origins)) {
                    tracing::warn!(
                        ?origin,
                        "a page of another site is refused: list it by --origin, or give users tokens by --tokens"
                    );
                    return Ok(Granted::nobody());
                }
                Granted { access: Access::client(), tenant: None }
            }
            Self::Tokens { list, .. } => {
                list.read().unwrap_or_else(PoisonError::into_inner).access(&login)
            }
            Self::Command { program, places } => {
                let asked = ask_program(program, places, &login).await;
                asked.inspect_err(|error| {
                    let program = program.display();
                    tracing::error!(%program, %error, "the token command failed; clients try again");
                })?
            }
            Self::Backend(backend) => {
                Granted { access: backend.admit(&login).await?, tenant: None }
            }
        })
    }
}

/// What a client is let in for.
struct Granted {
    access: Access<Value>,
    /// Whose log, if not the usual one.
    tenant: Option<String>,
}

impl Granted {
    const fn nobody() -> Self {
        Self { access: Access::nobody(), tenant: None }
    }
}

/// Whether a client is of another machine, also behind a proxy that tells.
fn is_from_elsewhere(login: &Login) -> bool {
    login.link.address.is_some_and(|address| !address.ip().to_canonical().is_loopback())
}

/// Whether a page may come in where nobody has a token. Not by the host that it asked for: the name of any page's
/// host can be made to lead to this machine.
fn may_ask(origin: &[u8], listed: &[String]) -> bool {
    let Ok(origin) = str::from_utf8(origin) else { return false };
    let host = origin.split_once("://").map_or("", |(_, host)| host);
    listed.iter().any(|it| it == origin) || is_of_this_machine(host)
}

/// Whether a host, with or without a port, is this machine by one of the names that no other can have.
pub(super) fn is_of_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let ip = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || ip.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

impl Tokens {
    fn of_file(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| cannot("read", path, &error))?;
        Self::parse(&text).map_err(|wrong| Failure::usage(format!("{}, {wrong}", path.display())))
    }

    /// A line for each token: the user, the token, `relay` if the events of all may come with it, and `log=NAME` if it
    /// is for the log of a tenant.
    fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // Not the line: it may have a token in it.
            let wrong = |what: &str| {
                let number = index + 1;
                format!(
                    "line {number}: {what}; write a user, a space and a token, and after that `relay`, `log=NAME` or nothing"
                )
            };
            let mut words = line.split_whitespace();
            let (Some(user), Some(secret)) = (words.next(), words.next()) else {
                return Err(wrong("there is no token"));
            };
            if secret == RELAY {
                return Err(wrong("there is no token"));
            }
            let (mut is_relay, mut tenant) = (false, None);
            for word in words {
                match word.strip_prefix("log=") {
                    Some(name) if tenant.is_none() && is_valid(name) => {
                        tenant = Some(name.to_owned());
                    }
                    Some(_) => {
                        return Err(wrong("log= needs one name of letters, digits, - and _"));
                    }
                    None if word == RELAY && !is_relay => is_relay = true,
                    None => return Err(wrong("there is too much")),
                }
            }
            if user.contains(':') {
                return Err(wrong("a user has no colon"));
            }
            let token = Token { secret: secret.to_owned(), is_relay, tenant };
            tokens.of_users.entry(user.to_owned()).or_default().push(token);
        }
        if tokens.of_users.is_empty() {
            return Err("there are no tokens, so nobody could connect".to_owned());
        }
        Ok(tokens)
    }

    fn access(&self, login: &Login) -> Granted {
        let user = login.user_id().unwrap_or(login.node_id.as_str());
        let tokens = self.of_users.get(user).map_or(&[][..], Vec::as_slice);
        // All are compared, so that the time tells nothing.
        let found = tokens.iter().fold(None, |found, token| {
            if login.token_is(&token.secret) { Some(token) } else { found }
        });
        let access = match found {
            Some(token) if token.is_relay => Access::relay(),
            Some(_) => Access::client(),
            None => Access::nobody(),
        };
        Granted { access, tenant: found.and_then(|token| token.tenant.clone()) }
    }
}

/// What a token command answers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Answered {
    access: Kind,
    /// In seconds.
    expires_in: Option<u64>,
    /// The tenant's, if not the usual one.
    log: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Client,
    Relay,
    Nobody,
}

/// Asks the token command. It is ended with the question.
async fn ask_program(
    program: &Path,
    places: &Semaphore,
    login: &Login,
) -> Result<Granted, CallbackError> {
    let _place = places.acquire().await?;
    let mut child = Command::new(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("it cannot be started: {error}"))?;
    let question = json!({
        "nodeId": login.node_id.as_str(),
        "userId": login.user_id(),
        "token": login.credentials,
        "headers": *login.headers,
        "address": login.link.address.map(|address| address.ip().to_string()),
    });
    if let Some(mut input) = child.stdin.take() {
        // A program that does not read, and answers, is right, too.
        let _ = input.write_all(format!("{question}\n").as_bytes()).await;
    }
    let mut answer = String::new();
    if let Some(output) = child.stdout.take() {
        output.take(MAX_ANSWER).read_to_string(&mut answer).await?;
    }
    let status = child.wait().await?;
    if !status.success() {
        return Err(format!("it ended with {status}").into());
    }
    let Answered { access, expires_in, log: tenant } = serde_json::from_str(answer.trim())
        .map_err(|error| {
            format!("its answer is not {{\"access\":\"client\"}} or the like: {error}")
        })?;
    let access = match access {
        Kind::Client => Access::client(),
        Kind::Relay => Access::relay(),
        // Whatever else it says: for a stranger no log is made.
        Kind::Nobody => return Ok(Granted::nobody()),
    };
    let access = match expires_in {
        Some(seconds) => access.expires_in(Duration::from_secs(seconds)),
        None => access,
    };
    if let Some(name) = tenant.as_deref().filter(|name| !is_valid(name)) {
        return Err(format!("its log {name:?} is not a name of letters, digits, - and _").into());
    }
    Ok(Granted { access, tenant })
}
