//! Boolean expressions that rows must meet: `?filter=`.
//!
//! ```text
//! parse      text -> Expression, with the error texts of Consul's grammar
//! literal    strings, integers and truth values in Go's spelling
//! row        which selectors each kind of row has, and their values
//! ```
//!
//! Expressions come from clients: their length, nesting and patterns are bounded.
//! Source: <https://developer.hashicorp.com/consul/api-docs/features/filtering>.

mod literal;
mod parse;
mod row;

pub use row::{Row, Selectable, Selectors, Shape, Value};

use agent_core::model::request::{Error, Kind};
use parse::{Expression, Operator};
use regex_lite::{Regex, RegexBuilder};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// Longest expression: far more than a command line or a URL carries.
const EXPRESSION_BYTES_MAX: usize = 16 << 10;

/// Largest compiled pattern.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// An expression that was checked against one kind of row.
#[derive(Debug)]
pub struct Filter<T> {
    test: Test,
    rows: PhantomData<fn(&T)>,
}

/// Compiles a regular expression from outside, in bounded memory.
///
/// # Errors
///
/// For one that is none or too large.
pub fn pattern(text: &str) -> Result<Regex, regex_lite::Error> {
    RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).build()
}

/// An expression whose selectors and values were checked.
#[derive(Debug)]
enum Test {
    Not(Box<Test>),
    All(Vec<Test>),
    Any(Vec<Test>),
    Match { selector: Vec<String>, operator: Operator, wanted: Wanted },
}

/// What a value is compared with.
#[derive(Debug)]
enum Wanted {
    Nothing,
    Text(String),
    Number(i64),
    Flag(bool),
    Pattern(Regex),
}

/// Why an expression is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It is no expression.
    Grammar(String),
    /// Its selectors, operators or values do not fit the rows.
    Unfit(String),
}

impl fmt::Display for Fault {
    /// Writes the reason under the heading that Consul gives to it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Grammar(why) | Self::Unfit(why)) = self;
        write!(f, "Failed to create boolean expression evaluator: {why}")
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        Self::with(Kind::Invalid, fault.to_string())
    }
}

impl<T: Selectable> Filter<T> {
    /// Parses an expression and checks it against the selectors of `T`.
    ///
    /// # Errors
    ///
    /// For bad grammar, unknown selectors, operators or values that do not fit a selector.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(Fault::Grammar("the expression is too long".into()));
        }
        let expression = parse::parse(text).map_err(Fault::Grammar)?;
        let test = check(expression, T::SELECTORS).map_err(Fault::Unfit)?;
        Ok(Self { test, rows: PhantomData })
    }

    /// Tells whether a row meets the expression.
    pub fn fits(&self, row: &T) -> bool {
        self.test.fits(row)
    }
}

/// Keeps the rows of a map that meet an expression; an empty expression keeps all.
///
/// # Errors
///
/// Those of [`Filter::parse`].
pub fn apply<T: Selectable>(
    text: &str,
    rows: BTreeMap<String, Arc<T>>,
) -> Result<BTreeMap<String, Arc<T>>, Fault> {
    if text.is_empty() {
        return Ok(rows);
    }
    let filter = Filter::<T>::parse(text)?;
    Ok(rows.into_iter().filter(|(_, row)| filter.fits(row)).collect())
}

fn check(expression: Expression, selectors: Selectors) -> Result<Test, String> {
    let all = |parts: Vec<Expression>| -> Result<Vec<Test>, String> {
        parts.into_iter().map(|part| check(part, selectors)).collect()
    };
    match expression {
        Expression::Not(inner) => Ok(Test::Not(Box::new(check(*inner, selectors)?))),
        Expression::All(parts) => Ok(Test::All(all(parts)?)),
        Expression::Any(parts) => Ok(Test::Any(all(parts)?)),
        Expression::Match { selector, operator, value } => {
            let shape = find(&selector, selectors)?;
            let wanted = want(&selector, operator, value, shape)?;
            Ok(Test::Match { selector, operator, wanted })
        }
    }
}

/// Finds the shape of what a selector names; the text of an error names it as far as it is wrong.
fn find(selector: &[String], selectors: Selectors) -> Result<Shape, String> {
    let mut fields = selectors;
    let mut names = selector.iter().enumerate();
    while let Some((at, name)) = names.next() {
        let invalid =
            |upto: usize| Err(format!("Selector {:?} is not valid", selector[..=upto].join(".")));
        let Some((_, shape)) = fields.iter().find(|(known, _)| known == name) else {
            return invalid(at);
        };
        let last = at + 1 == selector.len();
        match shape {
            shape if last => return Ok(*shape),
            Shape::Record(inner) | Shape::Records(inner) => fields = inner,
            Shape::RecordMap(inner) => match names.next() {
                Some((key, _)) if key + 1 == selector.len() => return Ok(Shape::Record(inner)),
                Some(_) | None => fields = inner,
            },
            Shape::Map if at + 2 == selector.len() => return Ok(Shape::Text),
            Shape::Map => return invalid(selector.len() - 1),
            Shape::Text | Shape::Number | Shape::Flag | Shape::Texts => return invalid(at + 1),
        }
    }
    Err(format!("Selector {:?} is not valid", selector.join(".")))
}

fn want(
    selector: &[String],
    operator: Operator,
    value: Option<String>,
    shape: Shape,
) -> Result<Wanted, String> {
    use Operator::{Equal, In, IsEmpty, IsNotEmpty, Matches, NotEqual, NotIn, NotMatches};
    let selector = || selector.join(".");
    let fits = match operator {
        Equal | NotEqual => matches!(shape, Shape::Text | Shape::Number | Shape::Flag),
        In | NotIn => {
            matches!(shape, Shape::Text | Shape::Texts | Shape::Map | Shape::RecordMap(_))
        }
        IsEmpty | IsNotEmpty => {
            matches!(shape, Shape::Texts | Shape::Map | Shape::RecordMap(_) | Shape::Records(_))
        }
        Matches | NotMatches => matches!(shape, Shape::Text),
    };
    if !fits {
        let (name, selector) = (operator.name(), selector());
        return Err(format!("Invalid match operator {name:?} for selector {selector:?}"));
    }
    let Some(value) = value else { return Ok(Wanted::Nothing) };
    let coerce = |call: &str, why: &str| {
        format!(
            "Failed to coerce value {value:?} for selector {:?}: strconv.{call}: \
             parsing {value:?}: {why}",
            selector()
        )
    };
    match operator {
        Matches | NotMatches => pattern(&value)
            .map(Wanted::Pattern)
            .map_err(|e| format!("Failed to compile regular expression {value:?}: {e}")),
        Equal | NotEqual | In | NotIn | IsEmpty | IsNotEmpty => match shape {
            Shape::Number => {
                literal::integer(&value).map(Wanted::Number).map_err(|why| coerce("ParseInt", why))
            }
            Shape::Flag => {
                literal::flag(&value).map(Wanted::Flag).map_err(|why| coerce("ParseBool", why))
            }
            Shape::Text
            | Shape::Texts
            | Shape::Map
            | Shape::Record(_)
            | Shape::Records(_)
            | Shape::RecordMap(_) => Ok(Wanted::Text(value)),
        },
    }
}

impl Test {
    fn fits(&self, row: &dyn Row) -> bool {
        match self {
            Self::Not(inner) => !inner.fits(row),
            Self::All(parts) => parts.iter().all(|part| part.fits(row)),
            Self::Any(parts) => parts.iter().any(|part| part.fits(row)),
            Self::Match { selector, operator, wanted } => {
                matches(&Value::Record(row), selector, *operator, wanted)
            }
        }
    }
}

/// Follows a selector into a value and compares what it finds. Of several rows one must match.
fn matches(value: &Value<'_>, selector: &[String], operator: Operator, wanted: &Wanted) -> bool {
    let Some((name, rest)) = selector.split_first() else {
        return compare(value, operator, wanted);
    };
    match value {
        Value::Record(row) => matches(&row.select(name), rest, operator, wanted),
        Value::Records(rows) => {
            rows.iter().any(|row| matches(&row.select(name), rest, operator, wanted))
        }
        Value::RecordMap(rows) => match rows.iter().find(|(key, _)| key == name) {
            Some((_, row)) => matches(&Value::Record(*row), rest, operator, wanted),
            None => operator.fits_absent(),
        },
        Value::Map(map) => match map.get(name) {
            Some(text) => matches(&Value::Text(text), rest, operator, wanted),
            None => operator.fits_absent(),
        },
        Value::Text(_) | Value::Number(_) | Value::Flag(_) | Value::Texts(_) => false,
    }
}

fn compare(value: &Value<'_>, operator: Operator, wanted: &Wanted) -> bool {
    let holds = match (value, wanted) {
        (Value::Text(text), Wanted::Text(wanted)) => match operator {
            Operator::In | Operator::NotIn => text.contains(wanted.as_str()),
            Operator::Equal
            | Operator::NotEqual
            | Operator::IsEmpty
            | Operator::IsNotEmpty
            | Operator::Matches
            | Operator::NotMatches => *text == wanted,
        },
        (Value::Text(text), Wanted::Pattern(pattern)) => pattern.is_match(text),
        (Value::Number(number), Wanted::Number(wanted)) => number == wanted,
        (Value::Flag(flag), Wanted::Flag(wanted)) => flag == wanted,
        (Value::Texts(texts), Wanted::Text(wanted)) => texts.contains(wanted),
        (Value::Map(map), Wanted::Text(wanted)) => map.contains_key(wanted),
        (Value::RecordMap(rows), Wanted::Text(wanted)) => rows.iter().any(|(key, _)| key == wanted),
        (value, Wanted::Nothing) => value.is_empty(),
        (
            Value::Text(_)
            | Value::Number(_)
            | Value::Flag(_)
            | Value::Texts(_)
            | Value::Map(_)
            | Value::Record(_)
            | Value::Records(_)
            | Value::RecordMap(_),
            Wanted::Text(_) | Wanted::Number(_) | Wanted::Flag(_) | Wanted::Pattern(_),
        ) => return false,
    };
    holds != operator.is_negative()
}

#[cfg(test)]
mod tests;
