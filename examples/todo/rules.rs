//! Who may do what, and what comes of it.

use std::sync::Arc;

use logux_sync::Value;
use logux_sync::app::{
    App, Channel, Client, Context, Fields, Handler, Path, State, SyncMap, Typed, Undo,
};
use serde::Deserialize;
use tokio::sync::Mutex;

use crate::journal::Journal;

const TOKENS: [(&str, &str); 2] = [("anna", "secret-of-anna"), ("bert", "secret-of-bert")];
const MEMBERS: [(&str, &[&str]); 2] = [("home", &["anna"]), ("work", &["anna", "bert"])];
type Todo = Arc<Mutex<Journal>>;

#[derive(Deserialize)]
struct Task {
    list: String,
    #[serde(default)]
    text: String,
}

pub(crate) fn app(journal: Journal) -> App<Todo> {
    let notes = SyncMap::access(async || true).create(check_note).change(check_note).from_log();
    App::with_state(Arc::new(Mutex::new(journal)), async |login, _| {
        // The token of this user, not just any good one.
        TOKENS.iter().any(|(user, token)| login.user_id() == Some(user) && login.token_is(token))
    })
    .development(true) // Without it, `@logux/client` insists on TLS.
    .on("tasks/add", for_members().process(add))
    .on("tasks/done", for_members())
    .channel("lists/:list", Channel::access(is_member).from_log())
    .sync_map("notes", notes)
    // Where notes are created and changed, so that a page finds all of them.
    .channel("notes", Channel::access(async || true).from_log())
}

fn for_members() -> Handler<Todo> {
    Handler::access(async |client, Typed(Task { list, .. })| is_member(client, Path(list)).await)
        .route(async |Typed(Task { list, .. })| format!("lists/{list}"))
}

async fn is_member(client: Client, Path(list): Path<String>) -> bool {
    let user = client.user_id().unwrap_or_default();
    MEMBERS.iter().any(|(name, members)| *name == list && members.contains(&user))
}

async fn add(
    State(journal): State<Todo>,
    Typed(Task { text, .. }): Typed<Task>,
    context: Context,
) -> Result<(), Undo> {
    check(&text)?;
    Ok(journal.lock().await.write(context.id().to_protocol_5(), context.event()).await?)
}

async fn check_note(Fields(fields): Fields) -> Result<(), Undo> {
    check(fields.get("text").and_then(Value::as_str).unwrap_or_default())
}

fn check(text: &str) -> Result<(), Undo> {
    let is_wrong = text.trim().is_empty() || text.len() > 100;
    if is_wrong { Err(Undo::new("wrongText")) } else { Ok(()) }
}
