//! The guides of the repository, for whoever reads here.

/// A page for each guide, whose links lead to the other pages.
macro_rules! pages {
    ($($name:ident $file:literal)*) => { $(
        #[doc = "[server]: crate::guide::server
[apps]: crate::guide::apps
[backend]: crate::guide::backend
[reliability]: crate::guide::reliability
[performance]: crate::guide::performance
[javascript]: crate::guide::from_javascript
[examples]: crate::guide::examples
[compatibility]: crate::guide::compatibility
[security]: https://docs.rs/crate/logux-sync/latest/source/SECURITY.md
[changes]: https://docs.rs/crate/logux-sync/latest/source/CHANGELOG.md
[contributing]: https://docs.rs/crate/logux-sync/latest/source/CONTRIBUTING.md"]
        #[doc = include_str!($file)]
        pub mod $name {}
    )* };
}

pages! {
    server "../docs/server.md"
    apps "../docs/apps.md"
    backend "../docs/backend.md"
    reliability "../docs/reliability.md"
    performance "../docs/performance.md"
    from_javascript "../docs/from-javascript.md"
    examples "../docs/examples.md"
    compatibility "../docs/compatibility.md"
}
