//! How a prepared query depends on the name that it was asked by.

use super::text::{Asked, Fault, Text};
use agent_core::model::query::{PreparedQuery, Target};
use agent_core::model::request::{Error, Kind};
use regex_lite::{Regex, RegexBuilder};

/// Most bytes of all texts of a template, its pattern included: filled in with names of the
/// largest size they stay below 16 MiB.
const TEMPLATE_BYTES_MAX: usize = 16 << 10;

/// Largest compiled pattern: a match of the longest name takes milliseconds at most.
const PATTERN_BYTES_MAX: usize = 64 << 10;

/// The only type there is.
const NAME_PREFIX_MATCH: &str = "name_prefix_match";

/// The texts of a query, ready to be filled in.
#[derive(Debug)]
pub struct Template {
    pattern: Option<Regex>,
    /// In the order of [`each_text`].
    texts: Vec<Text>,
}

fn failed<T>(why: impl std::fmt::Display) -> Result<T, Error> {
    Err(Error::with(Kind::Invalid, format!("failed compiling template: {why}")))
}

impl Template {
    /// Reads the texts of a template, and fills them in with its own name to try.
    ///
    /// # Errors
    ///
    /// For an unknown type, a pattern or a text that cannot be read, too much of it, and what is
    /// not known in a text, in Consul's words.
    pub fn compile(query: &PreparedQuery) -> Result<Self, Error> {
        let settings = &query.template;
        if settings.kind != NAME_PREFIX_MATCH {
            return failed(format_args!("Bad Template.Type '{}'", settings.kind));
        }
        let (mut texts, mut bytes) = (Vec::new(), settings.regexp.len());
        each_text(&mut query.service.clone(), |path, text| {
            bytes += text.len();
            if bytes > TEMPLATE_BYTES_MAX {
                return failed(format_args!("more than {TEMPLATE_BYTES_MAX} bytes of text"));
            }
            match Text::parse(text) {
                Ok(read) => texts.push(read),
                Err(fault) => return failed(told(&fault, text, path)),
            }
            Ok(())
        })?;
        if bytes > TEMPLATE_BYTES_MAX {
            return failed(format_args!("more than {TEMPLATE_BYTES_MAX} bytes of text"));
        }
        let pattern = match settings.regexp.as_str() {
            "" => None,
            text => match RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build() {
                Ok(pattern) => Some(pattern),
                Err(error) => return failed(format_args!("Bad Regexp: {error}")),
            },
        };
        let template = Self { pattern, texts };
        match template.render(query, &query.name) {
            Ok(_) => Ok(template),
            Err(error) => failed(error),
        }
    }

    /// Fills the texts in: the query as it is run when it is asked by `name`.
    ///
    /// # Errors
    ///
    /// If a text cannot be filled in for this name.
    pub fn render(&self, query: &PreparedQuery, name: &str) -> Result<PreparedQuery, Error> {
        let groups = self.pattern.as_ref().and_then(|pattern| pattern.captures(name));
        let asked = Asked { full: name, prefix: &query.name, groups };
        let mut filled = query.clone();
        let mut texts = self.texts.iter();
        each_text(&mut filled.service, |path, text| {
            let Some(read) = texts.next() else { return Ok(()) };
            match read.fill(&asked) {
                Ok(full) => *text = full,
                Err(fault) => return Err(Error::with(Kind::Invalid, told(&fault, text, path))),
            }
            Ok(())
        })?;
        if query.template.remove_empty_tags {
            filled.service.tags.retain(|tag| !tag.is_empty());
        }
        Ok(filled)
    }
}

/// Says what is wrong with a text, in Consul's words.
fn told(fault: &Fault, text: &str, path: &str) -> String {
    let what = match fault {
        Fault::Syntax => "Bad format",
        Fault::Evaluation(_) => "Bad evaluation for",
    };
    format!("{what} '{text}' in Service.{path}: {fault}")
}

/// Visits every text of a query with its path; always in the same order.
fn each_text(
    target: &mut Target,
    mut visit: impl FnMut(&str, &mut String) -> Result<(), Error>,
) -> Result<(), Error> {
    let numbered = |path: &str, at: usize| format!("{path}[{at}]");
    visit("Service", &mut target.service)?;
    for (at, text) in target.failover.datacenters.iter_mut().enumerate() {
        visit(&numbered("Failover.Datacenters", at), text)?;
    }
    for (at, text) in target.ignore_check_ids.iter_mut().enumerate() {
        visit(&numbered("IgnoreCheckIDs", at), text)?;
    }
    visit("Near", &mut target.near)?;
    for (at, text) in target.tags.iter_mut().enumerate() {
        visit(&numbered("Tags", at), text)?;
    }
    for (key, text) in &mut target.node_meta {
        visit(&format!("NodeMeta[{key}]"), text)?;
    }
    for (key, text) in &mut target.service_meta {
        visit(&format!("ServiceMeta[{key}]"), text)?;
    }
    Ok(())
}
