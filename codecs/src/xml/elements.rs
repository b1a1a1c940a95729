//! A frame as elements: the XML library's events, and what the vocabulary allows of them.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::events::{BytesCData, BytesText, Event};

use super::characters::{character_data, is_space, resolve, trim, unescape};
use super::error::XmlFault;
use super::keys::{KeyStack, Keys};
use super::plain;
use super::tag::{Kind, Namespace, Tag};

/// How deep what nobody asked for may nest: [`Limits`](crate::Limits) does not see it.
const MAX_SKIPPED_DEPTH: usize = 128;

pub(super) struct Elements<'de> {
    frame: &'de str,
    events: Reader<&'de [u8]>,
    /// Whether `events` expects nothing but what it finds: it may be moved on past something.
    is_movable: bool,
    namespace: Namespace<'de>,
    /// The names of the arrays and maps that are being read. `events` does not see all of them, and
    /// so cannot tell whether an end tag is the right one.
    open: Vec<&'de str>,
    keys: KeyStack<'de>,
}

impl<'de> Elements<'de> {
    pub(super) fn new(frame: &'de str) -> Self {
        let mut events = Reader::from_str(frame);
        let config = events.config_mut();
        config.check_comments = true;
        config.check_end_names = false;
        config.allow_unmatched_ends = true;
        Self {
            frame,
            events,
            is_movable: false,
            namespace: Namespace::default(),
            open: Vec::new(),
            keys: KeyStack::new(),
        }
    }

    /// How many bytes have been read.
    pub(super) fn position(&self) -> usize {
        self.frame.len().saturating_sub(self.events.get_ref().len())
    }

    /// The element that is the whole message.
    pub(super) fn root(&mut self) -> Result<Tag<'de>, XmlFault> {
        let mut is_start = true;
        loop {
            let start = self.position();
            let event = self.event()?;
            match &event {
                Event::Decl(declaration) if is_start => check_declaration(declaration)?,
                Event::Decl(_) => {
                    return Err(XmlFault::rule("the declaration is not at the start"));
                }
                Event::Start(_) | Event::Empty(_) => {
                    let tag = self.tag(start, true)?;
                    if tag.key.is_some() {
                        return Err(XmlFault::rule(KEY_OUTSIDE));
                    }
                    return Ok(self.entered(tag));
                }
                Event::Eof => return Err(XmlFault::rule("the frame ends before an element")),
                _ => between(&event)?,
            }
            is_start = false;
        }
    }

    /// The next item of an array; at its end, none.
    pub(super) fn item(&mut self) -> Result<Option<Tag<'de>>, XmlFault> {
        match self.next()? {
            Some(Tag { key: Some(_), .. }) => Err(XmlFault::rule(KEY_OUTSIDE)),
            item => Ok(item),
        }
    }

    pub(super) fn keys(&self) -> Keys<'de> {
        Keys::new(&self.keys)
    }

    /// The next member of a map; at its end, none.
    pub(super) fn member(
        &mut self,
        keys: &mut Keys<'de>,
    ) -> Result<Option<(Cow<'de, str>, Tag<'de>)>, XmlFault> {
        let Some(mut tag) = self.next()? else {
            keys.forget(&mut self.keys);
            return Ok(None);
        };
        let key = tag.key.take().ok_or_else(|| XmlFault::rule("a member of a map has no key"))?;
        keys.add(&mut self.keys, key.clone())?;
        Ok(Some((key, tag)))
    }

    /// What a string, a number or a boolean holds, up to and with its end.
    pub(super) fn text(&mut self, tag: &Tag<'de>) -> Result<Cow<'de, str>, XmlFault> {
        let text = self.raw_text(tag)?;
        if tag.escaped { unescape(text) } else { Ok(text) }
    }

    /// The end of an element that holds nothing.
    pub(super) fn null(&mut self, tag: &Tag<'de>) -> Result<(), XmlFault> {
        let text = self.raw_text(tag)?;
        if trim(&text).is_empty() { Ok(()) } else { Err(XmlFault::rule("`null` holds text")) }
    }

    /// Reads over an element, which has to be one all the same.
    pub(super) fn skip(&mut self, tag: Tag<'de>) -> Result<(), XmlFault> {
        enum Level<'de> {
            Map(Keys<'de>),
            Array,
        }

        let mut levels = Vec::new();
        let mut next = Some(tag);
        loop {
            if let Some(tag) = next {
                match tag.kind {
                    Kind::Map | Kind::Array if tag.empty => {}
                    Kind::Map => levels.push(Level::Map(self.keys())),
                    Kind::Array => levels.push(Level::Array),
                    Kind::Null => self.null(&tag)?,
                    Kind::Boolean => {
                        super::tag::boolean(&self.text(&tag)?)?;
                    }
                    Kind::Number => {
                        super::number::Number::read(&self.text(&tag)?)?;
                    }
                    Kind::String => {
                        self.text(&tag)?;
                    }
                }
                if levels.len() > MAX_SKIPPED_DEPTH {
                    return Err(XmlFault::rule("arrays and maps nest too deep"));
                }
            } else {
                levels.pop();
            }
            next = match levels.last_mut() {
                None => return Ok(()),
                Some(Level::Map(keys)) => self.member(keys)?.map(|(_, tag)| tag),
                Some(Level::Array) => self.item()?,
            };
        }
    }

    /// Nothing follows the root.
    pub(super) fn finish(&mut self) -> Result<(), XmlFault> {
        loop {
            match self.event()? {
                Event::Eof => return Ok(()),
                Event::Start(_) | Event::Empty(_) => {
                    return Err(XmlFault::rule("a second element follows the message"));
                }
                event => between(&event)?,
            }
        }
    }

    /// The next element within the one that is being read; at the end of that, none.
    fn next(&mut self) -> Result<Option<Tag<'de>>, XmlFault> {
        let rest = self.rest();
        if let Some(length) = self.open.last().and_then(|name| plain::end(rest, name)) {
            self.open.pop();
            self.move_on(length);
            return Ok(None);
        }
        if self.namespace.is_default()
            && let Some((tag, length)) = plain::tag(rest)
        {
            self.move_on(length);
            return Ok(Some(self.entered(tag)));
        }
        loop {
            let start = self.position();
            match self.event()? {
                Event::Start(_) | Event::Empty(_) => {
                    let tag = self.tag(start, false)?;
                    return Ok(Some(self.entered(tag)));
                }
                Event::End(end) => {
                    let name = self.open.pop().unwrap_or_default();
                    return if end.name().as_ref() == name { Ok(None) } else { Err(wrong_end()) };
                }
                event => between(&event)?,
            }
        }
    }

    /// What comes, where it may be read without `events`.
    #[inline]
    fn rest(&self) -> &'de str {
        if self.is_movable { self.frame.get(self.position()..).unwrap_or_default() } else { "" }
    }

    #[inline]
    fn move_on(&mut self, length: usize) {
        let rest = self.events.get_mut();
        *rest = rest.get(length..).unwrap_or_default();
    }

    fn event(&mut self) -> Result<Event<'de>, XmlFault> {
        let event = self.events.read_event()?;
        // After a text it expects what ended that.
        self.is_movable = !matches!(event, Event::Text(_));
        Ok(event)
    }

    /// Remembers an array or a map whose tag was read, until its end tag is.
    #[inline]
    fn entered(&mut self, tag: Tag<'de>) -> Tag<'de> {
        if matches!(tag.kind, Kind::Array | Kind::Map) && !tag.empty {
            self.open.push(tag.name);
        }
        tag
    }

    /// The tag that was read last. Taken from the frame, since the event does not outlive itself.
    fn tag(&mut self, start: usize, is_root: bool) -> Result<Tag<'de>, XmlFault> {
        let tag = self.frame.get(start..self.position()).unwrap_or_default();
        // The byte order mark is taken along with the first tag.
        Tag::read(tag.trim_start_matches('\u{FEFF}'), &mut self.namespace, is_root)
    }

    fn raw_text(&mut self, tag: &Tag<'de>) -> Result<Cow<'de, str>, XmlFault> {
        let mut text = Cow::Borrowed("");
        if tag.empty {
            return Ok(text);
        }
        if let Some((text, length)) = plain::text(self.rest(), tag.name) {
            self.move_on(length);
            return Ok(Cow::Borrowed(text));
        }
        loop {
            let part = match self.event()? {
                Event::End(end) if end.name().as_ref() == tag.name => return Ok(text),
                Event::End(_) => return Err(wrong_end()),
                Event::Text(part) => data(part)?,
                Event::CData(part) => cdata(part)?,
                Event::GeneralRef(part) => {
                    text.to_mut().push(resolve(&part)?);
                    continue;
                }
                Event::Start(_) | Event::Empty(_) => {
                    return Err(XmlFault::rule("an element lies in one that holds text only"));
                }
                event => {
                    between(&event)?;
                    continue;
                }
            };
            if text.is_empty() { text = part } else { text.to_mut().push_str(&part) }
        }
    }
}

fn wrong_end() -> XmlFault {
    XmlFault::rule("an end tag is not that of the element that is open")
}

const KEY_OUTSIDE: &str = "a key stands at an element that lies in no map";

fn data(text: BytesText<'_>) -> Result<Cow<'_, str>, XmlFault> {
    normalized(text.into_inner(), false)
}

fn cdata(text: BytesCData<'_>) -> Result<Cow<'_, str>, XmlFault> {
    normalized(text.into_inner(), true)
}

fn normalized(text: Cow<'_, str>, is_cdata: bool) -> Result<Cow<'_, str>, XmlFault> {
    match text {
        Cow::Borrowed(text) => character_data(text, is_cdata),
        Cow::Owned(text) => Ok(Cow::Owned(character_data(&text, is_cdata)?.into_owned())),
    }
}

/// What may stand between elements: comments and whitespace.
fn between(event: &Event<'_>) -> Result<(), XmlFault> {
    let fault = match event {
        Event::Comment(comment) => return character_data(comment, true).map(drop),
        Event::Text(text) if text.bytes().all(is_space) => return Ok(()),
        Event::CData(text) if text.bytes().all(is_space) => return Ok(()),
        Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) => {
            "text stands where only elements may"
        }
        Event::DocType(_) => "a document type is not taken",
        Event::PI(_) => "a processing instruction is not taken",
        Event::Decl(_) => "the declaration is not at the start",
        Event::Start(_) | Event::Empty(_) | Event::End(_) => "an element stands where none may",
        Event::Eof => "the frame ends within an element",
    };
    Err(XmlFault::rule(fault))
}

/// XML 1.0 in UTF-8.
fn check_declaration(declaration: &str) -> Result<(), XmlFault> {
    let wrong = || XmlFault::rule("the declaration is not that of XML 1.0 in UTF-8");
    let mut rest = declaration.strip_prefix("xml").ok_or_else(wrong)?;
    let mut seen = 0;
    while let Some((name, value, after)) = super::tag::next_attribute(rest)? {
        // In this order, and none twice: XML 1.0, 2.8.
        seen = match (seen, name) {
            (0, "version") if value == "1.0" => 1,
            (1, "encoding") if value.eq_ignore_ascii_case("utf-8") => 2,
            (1 | 2, "standalone") if matches!(value, "yes" | "no") => 3,
            _ => return Err(wrong()),
        };
        rest = after;
    }
    if seen == 0 { Err(wrong()) } else { Ok(()) }
}
