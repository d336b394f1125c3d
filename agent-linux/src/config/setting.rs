//! What a setting is: its key, its type, its flag, what it does. The rows are in `table` (settings
//! with an effect) and `accepted` (known to Consul 1.8, without effect here).

use super::{accepted, table};

/// One setting. The parser, the faults about unknown keys and the agent's `-help` come from these.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Key with its sections, dots between: `ports.http`.
    pub key: &'static str,
    /// Type of the value.
    pub kind: Kind,
    /// Name of the agent's flag, none if it is for files only.
    pub flag: Option<&'static str>,
    /// What the setting does.
    pub effect: Effect,
    /// One line for `-help`.
    pub doc: &'static str,
}

/// Type of a setting's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Int,
    /// Any number.
    Float,
    /// A port; zero or less switches off.
    Port,
    /// A string.
    Text,
    /// A Go duration.
    Span,
    /// A list of strings; lists of several sources are joined.
    Texts,
    /// Strings by name; those of several sources are merged.
    TextMap,
    /// Durations by name.
    SpanMap,
    /// One service, added to the services.
    Service,
    /// A list of services.
    Services,
    /// One check, added to the checks.
    Check,
    /// A list of checks.
    Checks,
    /// A list of watches.
    Watches,
    /// Anything; not looked into.
    Any,
}

/// What a setting does in this build.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// It works, from the next start on.
    Start,
    /// It works, and a reload takes a change over.
    Reload,
    /// It will work one day; a value is warned about.
    Later,
    /// There is nothing for it to do here.
    Nothing,
    /// It belongs to Consul Enterprise; a value is warned about.
    Enterprise,
    /// It had an effect in older versions of Consul; a value is warned about.
    Deprecated,
    /// It promises safety that this build does not give; switching it on stops the start.
    Refused,
}

impl Setting {
    /// Gives the setting a flag.
    pub(super) const fn flag(mut self, name: &'static str) -> Self {
        self.flag = Some(name);
        self
    }

    /// Lets a reload take a change over.
    pub(super) const fn reloads(mut self) -> Self {
        self.effect = Effect::Reload;
        self
    }
}

/// Makes a row of a setting that works.
pub(super) const fn works(key: &'static str, kind: Kind, doc: &'static str) -> Setting {
    Setting { key, kind, flag: None, effect: Effect::Start, doc }
}

/// Makes a row of a setting without effect.
pub(super) const fn known(key: &'static str, kind: Kind, effect: Effect) -> Setting {
    Setting { key, kind, flag: None, effect, doc: "Has no effect in this build." }
}

/// Lists all settings.
pub fn all() -> impl Iterator<Item = &'static Setting> {
    table::SETTINGS.iter().chain(accepted::SETTINGS)
}

/// Finds a setting by its key, in lower case.
pub fn find(key: &str) -> Option<&'static Setting> {
    all().find(|setting| setting.key == key)
}

/// Tells whether some key begins with this section.
pub(super) fn is_section(key: &str) -> bool {
    all().any(|s| s.key.strip_prefix(key).is_some_and(|rest| rest.starts_with('.')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn keys_and_flags_are_unique_and_no_key_is_also_a_section() {
        let (mut keys, mut flags) = (BTreeSet::new(), BTreeSet::new());
        for setting in all() {
            assert!(keys.insert(setting.key), "{} is twice in the table", setting.key);
            assert!(!is_section(setting.key), "{} is also a section", setting.key);
            assert_eq!(setting.key, setting.key.to_lowercase());
            if let Some(flag) = setting.flag {
                assert!(flags.insert(flag), "-{flag} is twice in the table");
            }
        }
    }
}
