//! Several codecs, of which each connection takes one.
//!
//! Not for users, but for [`Codecs`]: a server looks at the codecs here.

use crate::codec::Codec;

/// One codec, or several of which each connection takes the one that the peer names: a codec, or a
/// tuple of up to six.
///
/// Sealed: it is implemented for these, and for nothing else.
///
/// ```
/// # #[cfg(feature = "json")] {
/// use logux_codecs::{Codecs, Json};
///
/// fn serves(codecs: impl Codecs) {}
///
/// serves(Json);
/// serves((Json, Json));
/// # }
/// ```
pub trait Codecs: sealed::Sealed + Clone + Send + Sync + 'static {
    /// Shows the visitor one codec after the other, until it answers. It is called with the codec's
    /// own type: what it does with it is compiled for that codec.
    #[doc(hidden)]
    fn find<V: CodecVisitor>(&self, visitor: &mut V) -> Option<V::Output>;
}

/// Looks at codecs, each of a type of its own: see [`Codecs::find`].
pub trait CodecVisitor {
    /// What it looks for.
    type Output;

    /// Looks at one codec. An answer ends the search.
    fn visit<C: Codec>(&mut self, codec: &C) -> Option<Self::Output>;
}

mod sealed {
    /// Whatever is one codec or several.
    pub trait Sealed {}
}

impl<C: Codec> sealed::Sealed for C {}

impl<C: Codec> Codecs for C {
    fn find<V: CodecVisitor>(&self, visitor: &mut V) -> Option<V::Output> {
        visitor.visit(self)
    }
}

macro_rules! tuple {
    ($($codec:ident)*) => {
        impl<$($codec: Codec),*> sealed::Sealed for ($($codec,)*) {}

        impl<$($codec: Codec),*> Codecs for ($($codec,)*) {
            #[expect(non_snake_case, reason = "the types' names name the parts, too")]
            fn find<Visitor: CodecVisitor>(&self, visitor: &mut Visitor) -> Option<Visitor::Output> {
                let ($($codec,)*) = self;
                $(if let Some(found) = visitor.visit($codec) {
                    return Some(found);
                })*
                None
            }
        }
    };
}

tuple!(A);
tuple!(A B);
tuple!(A B C);
tuple!(A B C D);
tuple!(A B C D F);
tuple!(A B C D F G);

#[cfg(all(test, feature = "json"))]
mod tests {
    use super::*;
    use crate::json::Json;

    #[test]
    fn a_visitor_sees_one_codec_after_the_other_until_it_answers() {
        struct Names(Vec<&'static str>, usize);

        impl CodecVisitor for Names {
            type Output = &'static str;

            fn visit<C: Codec>(&mut self, _: &C) -> Option<&'static str> {
                self.0.push(C::NAME);
                (self.0.len() == self.1).then_some(C::NAME)
            }
        }

        let mut names = Names(Vec::new(), 0);
        assert_eq!((Json, Json).find(&mut names), None);
        assert_eq!(names.0, ["json", "json"]);
        let mut names = Names(Vec::new(), 1);
        assert_eq!((Json, Json).find(&mut names), Some("json"));
        assert_eq!(names.0, ["json"]);
    }
}
