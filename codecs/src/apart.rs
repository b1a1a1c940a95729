//! Events that are written apart from the message that they travel in, once for many messages.

use serde::Serialize;

use crate::message::WireMeta;
use crate::number::Added;

/// The items of a message, written one after the other, some of them beforehand.
pub(crate) trait Items {
    type Error;

    fn item<T: Serialize + ?Sized>(&mut self, item: &T) -> Result<(), Self::Error>;

    /// Takes an item as it was written.
    fn written(&mut self, item: &[u8]) -> Result<(), Self::Error>;

    fn meta(&mut self, meta: &WireMeta) -> Result<(), Self::Error> {
        self.item(meta)
    }
}

/// Lays out a `sync` of events that are written already: what `wire` makes of whole ones.
pub(crate) fn sync<'p, W: Items>(
    items: &mut W,
    added: Added,
    events: impl Iterator<Item = (&'p [u8], WireMeta)>,
) -> Result<(), W::Error> {
    items.item("sync")?;
    items.item(&added)?;
    for (event, meta) in events {
        items.written(event)?;
        items.meta(&meta)?;
    }
    Ok(())
}
