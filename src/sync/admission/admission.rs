use std::fmt;
use std::future::ready;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Once, OnceLock};
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use logux_codecs::{Added, Event, NodeId, ProtocolError, Subprotocol, Value};
use logux_transports::LinkInfo;
use logux_transports::rt::Instant;

use super::access::Access;
use super::login::Login;
use super::places::Holder;
use super::quota::{Accounts, Payer, Quota};
use super::refusals::{RefusalLimit, Refusals};
use crate::cursors::Cursors;
use crate::log::Log;
use crate::sync::callbacks::{CALLBACK_LIMIT, answer};
use crate::sync::error::Error;
use crate::sync::peer::Peer;
use crate::sync::rules::{Admitted, Authors, Claim, Input, Introduction, Role};
use crate::sync::session::SessionHandle;

/// The user's answer to who may connect.
type Auth<E> = Arc<dyn Fn(Login) -> BoxFuture<'static, Access<E>> + Send + Sync>;

/// The user's answer to which application version may connect: the requirement, if it may not.
type SubprotocolCheck = Arc<dyn Fn(Option<Subprotocol>) -> Result<(), Value> + Send + Sync>;

/// So many events are looked at while a peer waits to come in.
const MAX_LOOKED_AT: u64 = 1 << 16;

/// What the user says of who may come in, and from which cursors.
pub(crate) struct Policy<E> {
    pub(crate) auth: Option<Auth<E>>,
    pub(crate) subprotocol_check: Option<SubprotocolCheck>,
    /// The peer is known by this name, whatever it calls itself; where this node connects to it.
    pub(crate) peer_name: Option<NodeId>,
    /// Overrides how far the peer has received this log, for the first connection.
    pub(crate) synced: Option<Added>,
    /// Overrides how far the peer's log is received, for the first connection.
    pub(crate) other_synced: Option<Added>,
    /// What the peer's log holds up to here is left out, for the first connection.
    pub(crate) begin_after: Option<Added>,
    refusals: Option<Arc<Refusals>>,
    accounts: Option<Arc<Accounts>>,
    /// The operator was told why a page was refused.
    told_of_page: Arc<Once>,
    /// How long an answer of the user's may take.
    pub(crate) limit: Option<Duration>,
}

/// Whose events are taken from a peer, until when, and to which log if not to the usual one.
struct Pass<E> {
    authors: Authors,
    expires: Option<(Instant, Duration)>,
    log: Option<Log<E>>,
    starts_after: Added,
}

impl<E> Default for Policy<E> {
    fn default() -> Self {
        let mut policy = Self {
            auth: None,
            subprotocol_check: None,
            peer_name: None,
            synced: None,
            other_synced: None,
            begin_after: None,
            refusals: None,
            accounts: None,
            told_of_page: Arc::new(Once::new()),
            limit: Some(CALLBACK_LIMIT),
        };
        policy.limit_refusals(Some(RefusalLimit::default()));
        policy.limit_clients(Some(Quota::default()));
        policy
    }
}

impl<E> Policy<E> {
    /// Counts anew; clones of this policy count together.
    pub(crate) fn limit_refusals(&mut self, limit: Option<RefusalLimit>) {
        self.refusals = limit.map(|limit| Arc::new(Refusals::new(limit)));
    }

    /// Opens accounts anew; clones of this policy have the same.
    pub(crate) fn limit_clients(&mut self, quota: Option<Quota>) {
        self.accounts = quota.map(|quota| Arc::new(Accounts::new(quota)));
    }
}

impl<E: Event> Policy<E> {
    /// What a node that opens a connection says that it has received of the node that will probably
    /// answer; nothing, if that is not known. A wrong guess costs a connection: see
    /// [`Error::AnotherNode`].
    pub(crate) async fn claim(
        &self,
        log: &Log<E>,
        expected: Option<NodeId>,
    ) -> Result<Claim, Error> {
        let Some(of) = expected.or(self.peer_name.clone()) else {
            let synced = self.other_synced.unwrap_or_default();
            return Ok(Claim { synced, is_told: self.other_synced.is_some(), ..Claim::default() });
        };
        let of_node = log.cursors(&of).await?;
        let of_peer = match &self.peer_name {
            Some(name) => log.cursors(name).await?,
            None => of_node,
        };
        Ok(Claim {
            synced: self.other_synced.unwrap_or(of_node.received),
            of: Some(of),
            epoch: of_peer.epoch.or(of_node.epoch),
            is_told: self.other_synced.is_some(),
            may_be_mended: false,
        })
    }

    /// How a peer may come in; the refusal to tell it, if it may not.
    async fn admit(
        &self,
        login: Login,
        role: Role,
    ) -> Result<Result<Pass<E>, ProtocolError>, Error> {
        let used = login.subprotocol;
        if let Some(check) = &self.subprotocol_check {
            let asked = answer("subprotocol_check", None, || ready(Ok(check(used)))).await?;
            if let Err(supported) = asked {
                return Ok(Err(wrong_subprotocol(supported, used)));
            }
        }
        let refusal = ProtocolError::WrongCredentials;
        let Some(auth) = &self.auth else {
            if login.link.is_foreign_page {
                self.told_of_page.call_once(|| tell_of_page(&login));
                return Ok(Err(refusal));
            }
            return Ok(Pass::of(Access::usual(), role).ok_or(refusal));
        };
        let attempt = match &self.refusals {
            None => None,
            Some(refusals) => match refusals.attempt(&login).await {
                Some(attempt) => Some(attempt),
                None => return Ok(Err(ProtocolError::Bruteforce)),
            },
        };
        // A panic and a peer that leaves are no refusals.
        let access = answer("auth", self.limit, || async { auth(login).await.decided() }).await?;
        if let Some(supported) = access.supported() {
            return Ok(Err(wrong_subprotocol(supported.clone(), used)));
        }
        let pass = Pass::of(access, role);
        if let (None, Some(attempt)) = (&pass, attempt) {
            attempt.refuse();
        }
        Ok(pass.ok_or(refusal))
    }

    /// Asks the user about the peer, then the store for its cursors. The name of a node that answered
    /// is noted before anything of its log is stored.
    async fn check(
        self,
        usual: Log<E>,
        role: Role,
        introduction: Introduction,
        link: LinkInfo,
        session: SessionHandle,
        chosen: &OnceLock<Log<E>>,
    ) -> Result<Result<Admitted, ProtocolError>, Error> {
        let Introduction { epoch, begin, synced, claim_of, .. } = introduction;
        let Introduction { node_id, name, credentials, subprotocol, headers, .. } = introduction;
        let login =
            Login { node_id: name.clone(), credentials, subprotocol, headers, link, session };
        // As of the introduction: while the user is asked, another connection of the peer may move on.
        let sent = usual.cursors(&node_id).await?.sent;
        let Pass { authors, expires, log, starts_after } = match self.admit(login, role).await? {
            Ok(pass) => pass,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let is_usual = log.is_none();
        let log = match log {
            None => usual,
            Some(log) => {
                may_choose(&log, &usual, role)?;
                chosen.get_or_init(|| log).clone()
            }
        };
        if role == Role::Opener {
            log.set_dialled(&name).await?;
        }
        let mut cursors = log.cursors(&node_id).await?;
        if name != node_id {
            let by_name = log.cursors(&name).await?;
            cursors.received = by_name.received;
            cursors.epoch = cursors.epoch.or(by_name.epoch);
        }
        if cursors.epoch.is_none()
            && let Some(epoch) = epoch
        {
            log.set_epoch(&node_id, epoch).await?;
            if name != node_id {
                log.set_epoch(&name, epoch).await?;
            }
        }
        let begins = self.begin_after.zip(begin).map(|(wanted, told)| wanted.min(told));
        let begins = begins.filter(|&begins| role == Role::Opener && begins > cursors.received);
        if self.synced.is_some() || self.other_synced.is_some() || begins.is_some() {
            // The user knows better, and later connections go on from there.
            cursors.sent = self.synced.unwrap_or(cursors.sent);
            cursors.received = begins.or(self.other_synced).unwrap_or(cursors.received);
            cursors.epoch = cursors.epoch.or(epoch);
            if name == node_id {
                log.reset_cursors(&node_id, cursors).await?;
            } else {
                let Cursors { received, epoch, .. } = cursors;
                log.reset_cursors(&node_id, Cursors { received: Added::ZERO, ..cursors }).await?;
                let of_name = Cursors { received, epoch, ..Cursors::default() };
                log.reset_cursors(&name, of_name).await?;
            }
        } else if is_usual {
            cursors.sent = cursors.sent.min(sent);
        }
        let held_back = log.held_back(&node_id).await?;
        let known = log.known(&node_id);
        log.recall_withheld(&node_id).await?;
        if !is_usual && known.is_here_with(epoch) {
            // It was not known before which log's cursor to look at.
            cursors.sent = cursors.sent.min(synced);
        }
        if role == Role::Acceptor
            // Where this node dialled before, it counted what came from the peer, too, which the peer cannot claim.
            && claim_of.is_of(log.epoch())
            && synced < cursors.sent
            && cursors.sent.value() - synced.value() <= MAX_LOOKED_AT
            && log.came_from(Some(&node_id), synced, cursors.sent).await?
        {
            cursors.sent = synced;
        }
        let doubtful = held_back.iter().filter(|refused| refused.is_doubtful);
        known.doubt(doubtful.map(|refused| refused.id.clone()));
        let (suspected_up_to, trust) = (known.suspected_up_to(), known.trust());
        let held_back = held_back.into_iter().map(|refused| refused.id).collect();
        // The store may have taken its time.
        let lasts = expires.map(|(since, lasts)| lasts.saturating_sub(since.elapsed()));
        Ok(Ok(Admitted {
            cursors,
            trust,
            authors,
            lasts,
            suspected_up_to,
            held_back,
            starts_after,
        }))
    }
}

impl<E> Pass<E> {
    /// `None` for nobody.
    fn of(access: Access<E>, role: Role) -> Option<Self> {
        let expires = access.lasts().map(|lasts| (Instant::now(), lasts));
        let (authors, starts_after) = (access.authors(role)?, access.starts_after());
        Some(Self { authors, expires, log: access.into_log(), starts_after })
    }
}

/// Whether a connection that began with the usual log can go on with this one.
fn may_choose<E: Event>(log: &Log<E>, usual: &Log<E>, role: Role) -> Result<(), Error> {
    if role == Role::Opener {
        let what = "it chose a log for a peer that this node connected to; only a server's peers are led to logs";
        return Err(Error::callback("auth", what));
    }
    if log.node_id() == usual.node_id() && log.epoch() != usual.epoch() {
        let what =
            "it chose a log that has the name of the server's; give each log a name of its own";
        return Err(Error::callback("auth", what));
    }
    if log.event_limits() != usual.event_limits() {
        let what = "it chose a log with other EventLimits than the server's; open all logs of a server with the same";
        return Err(Error::callback("auth", what));
    }
    Ok(())
}

fn wrong_subprotocol(supported: Value, used: Option<Subprotocol>) -> ProtocolError {
    let used = used.map_or(Value::Null, |used| match used.minor {
        0 => used.major.into(),
        _ => [used.major, used.minor].as_slice().into(),
    });
    ProtocolError::WrongSubprotocol { supported, used }
}

/// Whoever can open a page in a browser on this network could otherwise reach a node that is for this
/// network only.
fn tell_of_page(login: &Login) {
    let origin = login.link.headers.get("origin");
    tracing::warn!(
        ?origin,
        "a page of another host is refused, as all of them are without auth: list the origins that \
         may connect by ListenerOptions::origins, or check peers by SyncOptions::auth; this is told once"
    );
}

impl<E> Clone for Policy<E> {
    fn clone(&self) -> Self {
        Self {
            auth: self.auth.clone(),
            subprotocol_check: self.subprotocol_check.clone(),
            peer_name: self.peer_name.clone(),
            refusals: self.refusals.clone(),
            accounts: self.accounts.clone(),
            told_of_page: Arc::clone(&self.told_of_page),
            ..*self
        }
    }
}

impl<E> fmt::Debug for Policy<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("auth", &self.auth.is_some()).finish_non_exhaustive()
    }
}

/// The admission of one connection's peer.
pub(crate) struct Admission<'a, E> {
    log: &'a Log<E>,
    policy: &'a Policy<E>,
    role: Role,
    link: LinkInfo,
    /// Where the connection comes from.
    network: Option<IpAddr>,
    /// What the peer calls itself, once it has introduced itself.
    name: Option<NodeId>,
    chosen: Arc<OnceLock<Log<E>>>,
}

impl<'a, E: Event> Admission<'a, E> {
    pub(crate) fn new(log: &'a Log<E>, policy: &'a Policy<E>, role: Role, link: LinkInfo) -> Self {
        let network = link.network();
        Self { log, policy, role, link, network, name: None, chosen: Arc::default() }
    }

    /// The log that the user chose for the peer, if not the usual one.
    pub(crate) fn chosen(&self) -> Option<&Log<E>> {
        self.chosen.get()
    }

    /// Which side of the connection this node is.
    pub(crate) fn role(&self) -> Role {
        self.role
    }

    /// Where the connection comes from or goes to.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.link.address
    }

    pub(crate) fn transport(&self) -> Option<&'static str> {
        self.link.transport
    }

    /// What a peer pays from that was let in; `None` for one that may send without limit. Without `auth`
    /// nothing binds it to a name.
    pub(crate) fn payer(&self, peer: &Peer, authors: Authors) -> Option<Payer> {
        let is_client = self.role == Role::Acceptor && authors == Authors::OwnClient;
        let accounts = self.policy.accounts.as_ref();
        let accounts = accounts.filter(|_| is_client && self.policy.auth.is_some());
        accounts.map(|accounts| accounts.open(&peer.log, &peer.node_id, self.network))
    }

    /// Whose connection this is: of a peer that was let in.
    pub(crate) fn holder(&self, authors: Authors) -> Holder {
        let name = self.name.as_ref().filter(|_| self.policy.auth.is_some());
        let log = self.chosen().unwrap_or(self.log).node_id();
        name.map_or_else(
            || Holder::unknown(self.network),
            |name| Holder::known(log, name, self.network, authors == Authors::Any),
        )
    }

    /// Checks the peer, which introduces itself once.
    pub(crate) fn check(
        &mut self,
        introduction: Introduction,
        session: SessionHandle,
    ) -> BoxFuture<'static, Answer<E>> {
        self.name = Some(introduction.name.clone());
        // The headers are the user's from now on.
        let mut rest = LinkInfo::default();
        (rest.address, rest.transport) = (self.link.address, self.link.transport);
        let link = std::mem::replace(&mut self.link, rest);
        let (log, policy, role) = (self.log.clone(), self.policy.clone(), self.role);
        let chosen = Arc::clone(&self.chosen);
        async move {
            let checked = policy.check(log, role, introduction, link, session, &chosen).await?;
            Ok(Some(Input::Checked(checked.map(Box::new))))
        }
        .boxed()
    }
}

/// What the rules are to know, if anything.
type Answer<E> = Result<Option<Input<E>>, Error>;
