/// What a command line asks of a bench that prints more than criterion does.
#[derive(Clone, Debug)]
pub struct Asked {
    arguments: Vec<String>,
}

impl Asked {
    /// The command line of this process.
    pub fn of_command_line() -> Self {
        Self { arguments: std::env::args().skip(1).collect() }
    }

    /// Whether criterion is to run: not with `--ratios`, which asks for them alone.
    pub fn criterion(&self) -> bool {
        !self.has("--ratios")
    }

    /// Whether numbers are wanted: where `cargo bench` runs it, and not only to try out, to list or
    /// to profile.
    pub fn numbers(&self) -> bool {
        let without = ["--test", "--list", "--profile-time"];
        self.has("--bench") && !without.into_iter().any(|option| self.has(option))
    }

    /// Whether a ratio of that name is meant: the first argument that is no option, if there is
    /// one, is part of it.
    pub fn means(&self, name: &str) -> bool {
        let filter = self.arguments.iter().find(|argument| !argument.starts_with('-'));
        filter.is_none_or(|filter| name.contains(filter))
    }

    fn has(&self, option: &str) -> bool {
        self.arguments.iter().any(|argument| argument == option)
    }
}
