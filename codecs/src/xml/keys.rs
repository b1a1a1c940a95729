//! No key twice in a map.

use std::borrow::Cow;
use std::collections::HashSet;

use super::error::XmlFault;

/// The keys of all maps that are being read, those of inner maps behind those of outer ones: so
/// that the usual small map makes no list of its own.
pub(super) type KeyStack<'de> = Vec<Cow<'de, str>>;

/// The keys of one map.
pub(super) struct Keys<'de> {
    /// Where they begin in the stack.
    start: usize,
    /// All of them, once they are too many to be looked through.
    many: HashSet<Cow<'de, str>>,
}

const FEW: usize = 16;

impl<'de> Keys<'de> {
    pub(super) fn new(stack: &KeyStack<'de>) -> Self {
        Self { start: stack.len(), many: HashSet::default() }
    }

    pub(super) fn add(
        &mut self,
        stack: &mut KeyStack<'de>,
        key: Cow<'de, str>,
    ) -> Result<(), XmlFault> {
        let is_new = if self.many.is_empty() {
            let few = stack.get(self.start..).unwrap_or_default();
            let is_new = !few.contains(&key);
            if few.len() < FEW {
                stack.push(key);
            } else {
                self.many.extend(stack.drain(self.start..));
                self.many.insert(key);
            }
            is_new
        } else {
            self.many.insert(key)
        };
        if is_new { Ok(()) } else { Err(XmlFault::rule("a map has a key twice")) }
    }

    /// Forgets the keys, at the end of the map.
    pub(super) fn forget(&self, stack: &mut KeyStack<'de>) {
        stack.truncate(self.start);
    }
}
