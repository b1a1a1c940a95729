use std::fmt;

use serde::{de, ser};

/// Why bytes are not a message in XML, or an event cannot be written in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum XmlError {
    /// The frame is not UTF-8.
    #[error("the frame is not UTF-8")]
    Text(#[from] std::str::Utf8Error),
    /// The text is no XML, not of the vocabulary, or no message; or an event's own `Serialize`
    /// failed.
    #[error("the XML is not a message")]
    Xml(#[from] XmlFault),
}

/// What is wrong with the XML, and where.
// The XML library's own error stays inside: its versions are not part of this interface.
// A box, because every result on the way of an event carries room for it.
#[derive(Debug)]
pub struct XmlFault(Box<(Fault, Option<usize>)>);

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("the text is not well-formed XML")]
    Syntax(#[source] quick_xml::Error),
    #[error("{0}")]
    Rule(&'static str),
    #[error("{0}")]
    Event(String),
}

impl XmlFault {
    /// What breaks a rule of XML, of the vocabulary, or of ours.
    #[cold]
    pub(super) fn rule(broken: &'static str) -> Self {
        Fault::Rule(broken).into()
    }

    pub(super) fn at(mut self, byte: usize) -> Self {
        self.0.1 = Some(byte);
        self
    }
}

impl From<Fault> for XmlFault {
    #[cold]
    fn from(fault: Fault) -> Self {
        Self(Box::new((fault, None)))
    }
}

impl From<quick_xml::Error> for XmlFault {
    #[cold]
    fn from(error: quick_xml::Error) -> Self {
        Fault::Syntax(error).into()
    }
}

impl fmt::Display for XmlFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (fault, at) = &*self.0;
        match at {
            Some(byte) => write!(f, "{fault}, before byte {byte}"),
            None => fault.fmt(f),
        }
    }
}

impl std::error::Error for XmlFault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.0.source()
    }
}

impl de::Error for XmlFault {
    #[cold]
    fn custom<T: fmt::Display>(message: T) -> Self {
        Fault::Event(message.to_string()).into()
    }
}

impl ser::Error for XmlFault {
    #[cold]
    fn custom<T: fmt::Display>(message: T) -> Self {
        Fault::Event(message.to_string()).into()
    }
}
