//! Texts with `${...}` in them: the part of HIL that prepared queries use.
//!
//! ```text
//! text        := ( "$$" | "${" expression "}" | any character )*
//! expression  := variable | match "(" expression ")" | number | '"' text '"' | "(" expression ")"
//! variable    := name.full | name.prefix | name.suffix | agent.segment
//! ```
//!
//! `$$` is one `$`. In quotes `\"`, `\\` and `\n` stand for what they do elsewhere. Consul also
//! has arithmetic and fractions, which no text of a query can use.
//! Source: <https://github.com/hashicorp/hil>.

use regex_lite::Captures;
use std::fmt;

/// Deepest nesting of quotes, calls and parentheses.
const DEPTH_MAX: usize = 16;

/// A text that was read.
#[derive(Debug)]
pub(super) struct Text(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    Literal(String),
    Expression(Expression),
}

#[derive(Debug)]
enum Expression {
    Name(Variable),
    Match(Box<Expression>),
    Number(i64),
    Quoted(Text),
    /// By the grammar, but nothing that is known; why.
    Unknown(String),
}

#[derive(Clone, Copy, Debug)]
enum Variable {
    Full,
    Prefix,
    Suffix,
    Segment,
}

/// What a text is filled in with.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    /// The name that was asked for.
    pub(super) full: &'a str,
    /// The template's own name.
    pub(super) prefix: &'a str,
    /// What the pattern found in the name, if it did.
    pub(super) groups: Option<Captures<'a>>,
}

/// Why a text cannot be read or filled in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// Not by the grammar.
    Syntax,
    /// By the grammar, but nothing that is known, or no number where one is wanted.
    Evaluation(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "parse error: syntax error",
            Self::Evaluation(why) => why,
        })
    }
}

impl Text {
    /// Reads a text.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        Parser { text, at: 0, depth: 0 }.text(Until::End)
    }

    /// Fills a text in.
    pub(super) fn fill(&self, asked: &Asked<'_>) -> Result<String, Fault> {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Expression(expression) => out.push_str(&expression.value(asked)?),
            }
        }
        Ok(out)
    }
}

impl Expression {
    fn value(&self, asked: &Asked<'_>) -> Result<String, Fault> {
        Ok(match self {
            Self::Name(Variable::Full) => asked.full.into(),
            Self::Name(Variable::Prefix) => asked.prefix.into(),
            Self::Name(Variable::Suffix) => {
                asked.full.strip_prefix(asked.prefix).unwrap_or(asked.full).into()
            }
            // Segments are a feature of Consul Enterprise: every agent is in the unnamed one.
            Self::Name(Variable::Segment) => String::new(),
            Self::Number(number) => number.to_string(),
            Self::Quoted(text) => text.fill(asked)?,
            Self::Unknown(why) => return Err(Fault::Evaluation(why.clone())),
            Self::Match(number) => {
                let number = number.value(asked)?;
                let number: i64 = number.parse().map_err(|_| {
                    Fault::Evaluation(format!(
                        "__builtin_StringToInt: strconv.ParseInt: parsing {number:?}: invalid \
                         syntax"
                    ))
                })?;
                let groups = asked.groups.as_ref().zip(usize::try_from(number).ok());
                let group = groups.and_then(|(groups, number)| groups.get(number));
                group.map_or_else(String::new, |group| group.as_str().into())
            }
        })
    }
}

/// Where a text ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// With the input.
    End,
    /// At the closing quote.
    Quote,
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest().chars().next()?;
        self.at += next.len_utf8();
        Some(next)
    }

    /// Takes what comes next if it is this.
    fn take(&mut self, wanted: &str) -> bool {
        let is_next = self.rest().starts_with(wanted);
        self.at += if is_next { wanted.len() } else { 0 };
        is_next
    }

    /// Takes as much as fits.
    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(|c| !fits(c)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    fn expect(&mut self, wanted: &str) -> Result<(), Fault> {
        self.take_while(char::is_whitespace);
        if self.take(wanted) { Ok(()) } else { Err(Fault::Syntax) }
    }

    fn text(&mut self, until: Until) -> Result<Text, Fault> {
        let (mut pieces, mut literal) = (Vec::new(), String::new());
        loop {
            if self.take("${") {
                if !literal.is_empty() {
                    pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                }
                pieces.push(Piece::Expression(self.expression()?));
                self.expect("}")?;
                continue;
            }
            match self.next() {
                Some('"') if until == Until::Quote => break,
                Some('\\') if until == Until::Quote => literal.push(self.escaped()),
                Some('$') => {
                    self.take("$");
                    literal.push('$');
                }
                Some(other) => literal.push(other),
                None if until == Until::Quote => return Err(Fault::Syntax),
                None => break,
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Text(pieces))
    }

    /// Reads what follows a backslash; before anything unknown it stands for itself.
    fn escaped(&mut self) -> char {
        for (letter, meaning) in [("\"", '"'), ("\\", '\\'), ("n", '\n')] {
            if self.take(letter) {
                return meaning;
            }
        }
        '\\'
    }

    fn expression(&mut self) -> Result<Expression, Fault> {
        if self.depth == DEPTH_MAX {
            return Err(Fault::Syntax);
        }
        self.depth += 1;
        self.take_while(char::is_whitespace);
        let expression = if self.take("\"") {
            Expression::Quoted(self.text(Until::Quote)?)
        } else if self.take("(") {
            let inner = self.expression()?;
            self.expect(")")?;
            inner
        } else if self.rest().starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
            self.number()?
        } else {
            self.named()?
        };
        self.depth -= 1;
        Ok(expression)
    }

    fn number(&mut self) -> Result<Expression, Fault> {
        let sign = if self.take("-") { "-" } else { "" };
        let digits = self.take_while(|c| c.is_ascii_digit());
        let number = format!("{sign}{digits}").parse().map_err(|_| Fault::Syntax)?;
        Ok(Expression::Number(number))
    }

    /// Reads a variable or a call.
    fn named(&mut self) -> Result<Expression, Fault> {
        let from = self.at;
        let name = self.take_while(|c| c.is_alphanumeric() || "_-.*".contains(c));
        if name.is_empty() {
            return Err(Fault::Syntax);
        }
        if self.take("(") {
            return self.call(name, from);
        }
        Ok(Expression::Name(match name {
            "name.full" => Variable::Full,
            "name.prefix" => Variable::Prefix,
            "name.suffix" => Variable::Suffix,
            "agent.segment" => Variable::Segment,
            other => {
                return Ok(self.unknown(from, &format!("unknown variable accessed: {other}")));
            }
        }))
    }

    fn call(&mut self, name: &str, from: usize) -> Result<Expression, Fault> {
        let mut arguments = Vec::new();
        self.take_while(char::is_whitespace);
        if !self.take(")") {
            arguments.push(self.expression()?);
            self.take_while(char::is_whitespace);
            while self.take(",") {
                arguments.push(self.expression()?);
                self.take_while(char::is_whitespace);
            }
            self.expect(")")?;
        }
        if name != "match" {
            return Ok(self.unknown(from, &format!("unknown function called: {name}")));
        }
        Ok(match <[Expression; 1]>::try_from(arguments) {
            Ok([number]) => Expression::Match(Box::new(number)),
            Err(other) => {
                self.unknown(from, &format!("match: expected 1 arguments, got {}", other.len()))
            }
        })
    }

    /// Says where something is that is not known.
    fn unknown(&self, from: usize, why: &str) -> Expression {
        let before = &self.text[..from];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Expression::Unknown(format!("{line}:{column}: {why}"))
    }
}
