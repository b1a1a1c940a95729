//! Several codecs, of which each connection takes one.

use crate::codec::Codec;

/// One codec, or several of which each connection takes the one that the peer names: a codec, or a
/// tuple of up to six.
///
/// ```
/// # #[cfg(feature = "json")] {
/// use logux_codecs::{Codec, CodecVisitor, Codecs, Json};
///
/// struct Names(Vec<&'static str>);
///
/// impl CodecVisitor for Names {
///     type Output = ();
///
///     fn visit<C: Codec>(&mut self, _: &C) -> Option<()> {
///         self.0.push(C::NAME);
///         None
///     }
/// }
///
/// let mut names = Names(Vec::new());
/// (Json, Json).find(&mut names);
/// assert_eq!(names.0, ["json", "json"]);
/// # }
/// ```
pub trait Codecs: Clone + Send + Sync + 'static {
    /// Shows the visitor one codec after the other, until it answers. It is called with the codec's
    /// own type: what it does with it is compiled for that codec.
    fn find<V: CodecVisitor>(&self, visitor: &mut V) -> Option<V::Output>;
}

/// Looks at codecs, each of a type of its own: see [`Codecs`].
pub trait CodecVisitor {
    /// What it looks for.
    type Output;

    /// Looks at one codec. An answer ends the search.
    fn visit<C: Codec>(&mut self, codec: &C) -> Option<Self::Output>;
}

impl<C: Codec> Codecs for C {
    fn find<V: CodecVisitor>(&self, visitor: &mut V) -> Option<V::Output> {
        visitor.visit(self)
    }
}

macro_rules! tuple {
    ($($codec:ident)*) => {
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
