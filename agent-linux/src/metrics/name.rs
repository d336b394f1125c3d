//! How names are shown: prefix, host name, filter.

/// How names are shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Naming {
    /// Prefix of every name, default `consul`.
    pub prefix: String,
    /// The host's name, which follows the prefix of gauges; empty for none.
    pub host: String,
    /// Starts of names with whether they are shown; the longest that fits decides.
    pub filter: Vec<(String, bool)>,
    /// Whether names that no rule fits are shown.
    pub filter_default: bool,
}

impl Default for Naming {
    fn default() -> Self {
        Self {
            prefix: "consul".to_owned(),
            host: String::new(),
            filter: Vec::new(),
            filter_default: true,
        }
    }
}

impl Naming {
    /// Names a counter or sample; none if it is not to be shown.
    pub fn plain(&self, name: &str) -> Option<String> {
        self.shown(format!("{}.{name}", self.prefix))
    }

    /// Names a gauge; none if it is not to be shown.
    pub fn gauge(&self, name: &str) -> Option<String> {
        if self.host.is_empty() {
            return self.plain(name);
        }
        self.shown(format!("{}.{}.{name}", self.prefix, self.host))
    }

    fn shown(&self, name: String) -> Option<String> {
        let fitting = self.filter.iter().filter(|(start, _)| name.starts_with(start.as_str()));
        let rule = fitting.max_by_key(|(start, _)| start.len());
        rule.map_or(self.filter_default, |(_, shown)| *shown).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_rule_decides() {
        let rule = |start: &str, shown| (start.to_owned(), shown);
        let mut naming = Naming {
            filter: vec![rule("consul.raft", false), rule("consul.raft.apply", true)],
            ..Naming::default()
        };
        assert_eq!(naming.plain("raft.apply").as_deref(), Some("consul.raft.apply"));
        assert_eq!(naming.plain("raft.commitTime"), None);
        assert_eq!(naming.plain("kvs.apply").as_deref(), Some("consul.kvs.apply"));
        naming.filter_default = false;
        assert_eq!(naming.plain("kvs.apply"), None);
        naming.host = "here".to_owned();
        assert_eq!(naming.gauge("raft.apply"), None);
        naming.filter_default = true;
        assert_eq!(naming.gauge("runtime.x").as_deref(), Some("consul.here.runtime.x"));
    }
}
