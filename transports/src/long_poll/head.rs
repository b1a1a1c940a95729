//! The headers of the protocol. Their meaning is in `LONG_POLL.md`.
//!
//! All numbers of a request or an answer share one header: a third of what a small request costs is
//! the count of its headers.

use http::{HeaderMap, HeaderName, HeaderValue};

pub(crate) const SESSION: HeaderName = HeaderName::from_static("logux-session");
pub(crate) const NONCE: HeaderName = HeaderName::from_static("logux-nonce");
pub(crate) const VERSION: HeaderName = HeaderName::from_static("logux-version");
pub(crate) const POLL: HeaderName = HeaderName::from_static("logux-poll");
pub(crate) const SEND: HeaderName = HeaderName::from_static("logux-send");
pub(crate) const ANSWER: HeaderName = HeaderName::from_static("logux-answer");
pub(crate) const WAIT: HeaderName = HeaderName::from_static("logux-wait");
pub(crate) const INACTIVITY: HeaderName = HeaderName::from_static("logux-inactivity");
pub(crate) const MAX_BODY: HeaderName = HeaderName::from_static("logux-max-body");

/// Begins the media type of a body; the name of the frames' format follows.
pub(crate) const MEDIA_TYPE: &str = "application/vnd.logux.batch+";

/// The version of the protocol that both sides of this library speak.
pub(crate) const PROTOCOL: u64 = 2;

/// Comes after the number of the first frame where the end comes after the last one.
const END: &str = "end";

/// The highest number that all languages can count to.
const MAX_NUMBER: u64 = (1 << 53) - 1;

/// What a request of a session asks for. It has the header of one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Poll(Poll),
    Send(Send),
}

/// `Logux-Poll`: asks for frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Poll {
    /// The number of the poll: 1, 2, ...
    pub(crate) request: u64,
    pub(crate) ack: u64,
    /// How many milliseconds to hold it at most.
    pub(crate) wait: Option<u64>,
}

/// `Logux-Send`: brings frames, the end, or an acknowledgement alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Send {
    pub(crate) ack: u64,
    /// Where the body belongs. Without it, there is only the acknowledgement.
    pub(crate) position: Option<Position>,
}

/// Where a body belongs in its direction's row of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    /// The number of the first frame, or of the end if there is no frame before it.
    pub(crate) first: u64,
    /// Whether the end comes after the frames.
    pub(crate) ends: bool,
}

/// `Logux-Answer`: what every answer of a session tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) state: State,
    /// The number of the last frame that was taken from the client.
    pub(crate) ack: u64,
    /// The number of the first frame in the body, or of the end, if there is one.
    pub(crate) first: Option<u64>,
}

/// What an answer says of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    /// A later poll takes this one's place.
    Superseded,
    /// The server has closed the link; what is in this answer is the last of it.
    Closed,
}

/// Why the numbers of a request or an answer cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misread {
    /// A request has both headers, or neither.
    Ask,
    Poll,
    Send,
    /// A body has frames, and nothing tells their numbers.
    Position,
    Answer,
}

impl Ask {
    pub(crate) fn read(headers: &HeaderMap) -> Result<Self, Misread> {
        match (headers.contains_key(POLL), headers.contains_key(SEND)) {
            (true, false) => Poll::read(headers).map(Self::Poll),
            (false, true) => Send::read(headers).map(Self::Send),
            _ => Err(Misread::Ask),
        }
    }
}

impl Poll {
    fn read(headers: &HeaderMap) -> Result<Self, Misread> {
        read(headers, &POLL, |words| match *words {
            [request, ack] => {
                Some(Self { request: counted(request)?, ack: parse(ack)?, wait: None })
            }
            [request, ack, wait] => {
                let wait = Some(parse(wait)?);
                Some(Self { request: counted(request)?, ack: parse(ack)?, wait })
            }
            _ => None,
        })
        .ok_or(Misread::Poll)
    }

    pub(crate) fn write(self, headers: &mut HeaderMap) {
        let mut line = Line::new();
        line.number(self.request);
        line.number(self.ack);
        if let Some(wait) = self.wait {
            line.number(wait);
        }
        headers.insert(POLL, line.value());
    }
}

impl Send {
    fn read(headers: &HeaderMap) -> Result<Self, Misread> {
        read(headers, &SEND, |words| {
            let (ack, position) = match *words {
                [ack] => (ack, None),
                [ack, first] => (ack, Some(Position { first: counted(first)?, ends: false })),
                [ack, first, END] => (ack, Some(Position { first: counted(first)?, ends: true })),
                _ => return None,
            };
            Some(Self { ack: parse(ack)?, position })
        })
        .ok_or(Misread::Send)
    }

    pub(crate) fn write(self, headers: &mut HeaderMap) {
        let mut line = Line::new();
        line.number(self.ack);
        if let Some(Position { first, ends }) = self.position {
            line.number(first);
            if ends {
                line.word(END.as_bytes());
            }
        }
        headers.insert(SEND, line.value());
    }
}

impl Answer {
    pub(crate) fn read(headers: &HeaderMap) -> Result<Self, Misread> {
        read(headers, &ANSWER, |words| match *words {
            [state, ack] => {
                Some(Self { state: State::named(state)?, ack: parse(ack)?, first: None })
            }
            [state, ack, first] => {
                let first = Some(counted(first)?);
                Some(Self { state: State::named(state)?, ack: parse(ack)?, first })
            }
            _ => None,
        })
        .ok_or(Misread::Answer)
    }

    pub(crate) fn write(self, headers: &mut HeaderMap) {
        let mut line = Line::new();
        line.word(self.state.as_str().as_bytes());
        line.number(self.ack);
        if let Some(first) = self.first {
            line.number(first);
        }
        headers.insert(ANSWER, line.value());
    }
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Superseded => "superseded",
            Self::Closed => "closed",
        }
    }

    fn named(name: &str) -> Option<Self> {
        let states = [Self::Open, Self::Superseded, Self::Closed];
        states.into_iter().find(|state| state.as_str() == name)
    }
}

impl Misread {
    /// For the person who wrote the other side.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ask => {
                "a request of a session has one of two headers: \
                 logux-poll: <request> <ack> [<wait>], or logux-send: <ack> [<first> [end]]"
            }
            Self::Poll => {
                "the header logux-poll is needed once, in the form <request> <ack> [<wait>]: \
                 numbers, with one space between them; the first poll is 1"
            }
            Self::Send => {
                "the header logux-send is needed once, in the form <ack> [<first> [end]]: \
                 numbers, and maybe the word end, with one space between them; the first frame is 1"
            }
            Self::Position => {
                "the header logux-send of a body with frames tells the number of the first one: \
                 <ack> <first> [end]"
            }
            Self::Answer => {
                "the header logux-answer is needed once, in the form <state> <ack> [<first>]: \
                 open, superseded or closed, and numbers, with one space between them"
            }
        }
    }
}

/// The version of the protocol that a side names where a session is opened. One that names none
/// speaks the first.
pub(crate) fn version(headers: &HeaderMap) -> Option<u64> {
    if headers.contains_key(VERSION) { number(headers, &VERSION) } else { Some(1) }
}

/// A header that is there once, as text.
pub(crate) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// A header that is a number.
pub(crate) fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    only(headers, name).and_then(parse)
}

pub(crate) fn set_number(headers: &mut HeaderMap, name: HeaderName, number: u64) {
    headers.insert(name, HeaderValue::from(number));
}

/// A number in its one spelling.
fn parse(text: &str) -> Option<u64> {
    let is_canonical = text == "0" || text.starts_with(|first: char| matches!(first, '1'..='9'));
    text.parse().ok().filter(|&number| is_canonical && number <= MAX_NUMBER)
}

/// A number of what is counted from 1.
fn counted(text: &str) -> Option<u64> {
    parse(text).filter(|&number| number > 0)
}

/// A header that is there once, of as many words as a form has.
fn read<T>(
    headers: &HeaderMap,
    name: &HeaderName,
    form: impl FnOnce(&[&str]) -> Option<T>,
) -> Option<T> {
    // One word more than any form has. A space too many makes an empty one.
    let mut words = [""; 4];
    let mut count = 0;
    for (place, word) in words.iter_mut().zip(only(headers, name)?.split(' ')) {
        *place = word;
        count += 1;
    }
    form(&words[..count])
}

/// How many digits the highest `u64` has.
const DIGITS: usize = 20;

/// The value of a header that is being written, of at most three numbers.
struct Line {
    text: [u8; 3 * DIGITS + 2],
    length: usize,
}

impl Line {
    const fn new() -> Self {
        Self { text: [b' '; 3 * DIGITS + 2], length: 0 }
    }

    /// Adds a word, after a space if it is not the first.
    fn word(&mut self, word: &[u8]) {
        // The room is full of spaces.
        let start = if self.length == 0 { 0 } else { self.length + 1 };
        self.length = start + word.len();
        self.text[start..self.length].copy_from_slice(word);
    }

    fn number(&mut self, number: u64) {
        let mut digits = [0; DIGITS];
        let (mut first, mut rest) = (DIGITS, number);
        loop {
            first -= 1;
            digits[first] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.word(&digits[first..]);
    }

    #[expect(clippy::expect_used, reason = "letters, digits and spaces")]
    fn value(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.text[..self.length]).expect("a value that HTTP allows")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u64 = MAX_NUMBER;

    fn with(values: &[(HeaderName, &str)]) -> HeaderMap {
        let values = values.iter();
        values.map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    fn polls(request: u64, ack: u64, wait: Option<u64>) -> Ask {
        Ask::Poll(Poll { request, ack, wait })
    }

    fn sends(ack: u64, position: Option<(u64, bool)>) -> Ask {
        Ask::Send(Send { ack, position: position.map(|(first, ends)| Position { first, ends }) })
    }

    #[test]
    fn a_wish_is_written_as_it_is_read() {
        for (name, text, wish) in [
            (POLL, "1 0", polls(1, 0, None)),
            (POLL, "1 10 0", polls(1, 10, Some(0))),
            (POLL, "12 345 25000", polls(12, 345, Some(25000))),
            (
                POLL,
                "9007199254740991 9007199254740991 9007199254740991",
                polls(MAX, MAX, Some(MAX)),
            ),
            (SEND, "0", sends(0, None)),
            (SEND, "7 1", sends(7, Some((1, false)))),
            (SEND, "7 100 end", sends(7, Some((100, true)))),
            (SEND, "9007199254740991 9007199254740991 end", sends(MAX, Some((MAX, true)))),
        ] {
            assert_eq!(Ask::read(&with(&[(name.clone(), text)])), Ok(wish), "{text}");
            let mut headers = HeaderMap::new();
            match wish {
                Ask::Poll(poll) => poll.write(&mut headers),
                Ask::Send(send) => send.write(&mut headers),
            }
            assert_eq!((headers.len(), &headers[name]), (1, &HeaderValue::from_static(text)));
        }
    }

    #[test]
    fn an_answer_is_written_as_it_is_read() {
        for (text, state, ack, first) in [
            ("open 0", State::Open, 0, None),
            ("open 12 3", State::Open, 12, Some(3)),
            ("superseded 5", State::Superseded, 5, None),
            ("closed 0 1", State::Closed, 0, Some(1)),
            ("superseded 9007199254740991 9007199254740991", State::Superseded, MAX, Some(MAX)),
        ] {
            let answer = Answer { state, ack, first };
            assert_eq!(Answer::read(&with(&[(ANSWER, text)])), Ok(answer), "{text}");
            let mut headers = HeaderMap::new();
            answer.write(&mut headers);
            assert_eq!((headers.len(), &headers[ANSWER]), (1, &HeaderValue::from_static(text)));
        }
    }

    #[test]
    fn there_is_room_for_the_longest_numbers() {
        let mut headers = HeaderMap::new();
        Poll { request: u64::MAX, ack: u64::MAX, wait: Some(u64::MAX) }.write(&mut headers);
        assert_eq!(headers[POLL], [u64::MAX.to_string().as_str(); 3].join(" "));
        Answer { state: State::Superseded, ack: u64::MAX, first: Some(u64::MAX) }
            .write(&mut headers);
        assert_eq!(headers[ANSWER], format!("superseded {} {0}", u64::MAX));
    }

    /// What is wrong with a number, wherever it is.
    const NO_NUMBERS: [&str; 15] = [
        "",
        " ",
        "x",
        "-1",
        "+1",
        "00",
        "01",
        "1.0",
        "1e0",
        "0x1",
        "1,",
        "\"1\"",
        "\u{b9}",
        "9007199254740992",
        "99999999999999999999999",
    ];

    #[test]
    fn no_other_spelling_is_read() {
        // A number that is right is in each place where a wrong one is tried.
        for (name, forms) in [
            (POLL, &["# 0", "1 #", "# 0 0", "1 # 0", "1 0 #"][..]),
            (SEND, &["#", "# 1", "0 #", "# 1 end", "0 # end"]),
            (ANSWER, &["open #", "open # 1", "open 0 #"]),
        ] {
            for form in forms {
                let read = |number: &str| {
                    let headers = with(&[(name.clone(), &form.replace('#', number))]);
                    match Answer::read(&headers) {
                        Ok(_) => true,
                        Err(_) => Ask::read(&headers).is_ok(),
                    }
                };
                assert!(read("1"), "{name}: {form}");
                for number in NO_NUMBERS {
                    assert!(!read(number), "{name}: {form} with {number:?}");
                }
            }
        }
    }

    #[test]
    fn a_header_of_another_form_is_named() {
        for text in [
            "",
            " ",
            "1",
            "1 ",
            " 1 0",
            "1 0 ",
            "1  0",
            "1\t0",
            "1 0  0",
            "1 0 0 ",
            "1 0 0 0",
            "1 0 0 0 0",
            "1 0 end",
            "1,0",
            "1 0, 1 0",
            "0 0",
            "0 10 0",
        ] {
            assert_eq!(Ask::read(&with(&[(POLL, text)])), Err(Misread::Poll), "{text:?}");
        }
        for text in [
            "",
            " ",
            " 0",
            "0 ",
            "0  1",
            "0 1 ",
            "0 end",
            "0 1 1",
            "0 1 END",
            "0 1 ends",
            "0 1  end",
            "0 1 end ",
            "0 1 end end",
            "0 1 end 2 end",
            "0, 0",
            "0 0",
            "0 0 end",
            "end",
        ] {
            assert_eq!(Ask::read(&with(&[(SEND, text)])), Err(Misread::Send), "{text:?}");
        }
        for text in [
            "",
            " ",
            "open",
            "open ",
            " open 0",
            "open 0 ",
            "open  0",
            "OPEN 0",
            "opened 0",
            "0",
            "0 open",
            "open 0 1 2",
            "open 0 end",
            "open 0, open 0",
            "open 0 0",
            "200 0",
        ] {
            assert_eq!(Answer::read(&with(&[(ANSWER, text)])), Err(Misread::Answer), "{text:?}");
        }
    }

    #[test]
    fn there_is_one_header_once() {
        let (poll, send) = ((POLL, "1 0"), (SEND, "0"));
        for (values, misread) in [
            (&[][..], Misread::Ask),
            (&[poll.clone(), send.clone()], Misread::Ask),
            (&[poll.clone(), (SEND, "")], Misread::Ask),
            (&[(ANSWER, "open 0")], Misread::Ask),
            (&[poll.clone(), poll], Misread::Poll),
            (&[send.clone(), send], Misread::Send),
        ] {
            assert_eq!(Ask::read(&with(values)), Err(misread), "{values:?}");
        }
        let answer = (ANSWER, "open 0");
        assert_eq!(Answer::read(&with(&[])), Err(Misread::Answer));
        assert_eq!(Answer::read(&with(&[answer.clone(), answer])), Err(Misread::Answer));
    }

    #[test]
    fn a_side_that_names_no_version_speaks_the_first() {
        for (values, named) in [
            (&[][..], Some(1)),
            (&[(VERSION, "1")], Some(1)),
            (&[(VERSION, "2")], Some(2)),
            (&[(VERSION, "10")], Some(10)),
            (&[(VERSION, "2.0")], None),
            (&[(VERSION, "")], None),
            (&[(VERSION, "2"), (VERSION, "2")], None),
        ] {
            assert_eq!(version(&with(values)), named, "{values:?}");
        }
    }
}
