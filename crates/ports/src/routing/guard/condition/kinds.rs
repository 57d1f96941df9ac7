//! What kind each part of a condition has, as far as that can be told before there is a request.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, EntryExpr, Expr, ListExpr, LiteralValue, SelectExpr, operators as op};
use tutti_core::limits;

use super::{Parsed, binds};

/// The name of the function that holds a text against the regular expression of a number.
pub const MATCH: &str = "@matches";

/// What a condition knows of a request; each a text, save for the last, which is a map of texts.
pub const FIELDS: [&str; 6] = ["method", "path", "query", "host", "scheme", "headers"];

const FUNCTIONS: &[&str] = &[
    "size",
    "startsWith",
    "endsWith",
    "contains",
    "matches",
    "string",
    "int",
    "uint",
    "double",
    "bool",
    "bytes",
    "dyn",
    "type",
    "of",
    "ofNonZeroValue",
    "none",
    "hasValue",
    "value",
    "or",
    "orValue",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Any,
    Bool,
    Number,
    Text,
    Null,
    List,
    Map,
    /// A map of texts.
    Texts,
    Request,
    Source,
    Auth,
}

impl Kind {
    fn shown(self) -> &'static str {
        match self {
            Kind::Any => "a value",
            Kind::Bool => "true or false",
            Kind::Number => "a number",
            Kind::Text => "a text",
            Kind::Null => "null",
            Kind::List => "a list",
            Kind::Map | Kind::Texts | Kind::Request | Kind::Source | Kind::Auth => "a map",
        }
    }

    fn is(self, other: Kind) -> bool {
        self == other || self == Kind::Any
    }
}

/// What is wrong, and with which part.
type Wrong = (u64, String);

struct Checker<'a> {
    text: &'a str,
    parsed: Parsed,
}

/// Checks an expression, takes the regular expressions out of it and says what it names.
pub(super) fn checked(mut expression: IdedExpr, text: &str, authenticated: bool) -> Result<Parsed, Wrong> {
    let parsed = Parsed {
        expression: IdedExpr::default(),
        patterns: Vec::new(),
        fields: [false; FIELDS.len()],
        source: false,
        auth: false,
    };
    let mut checker = Checker { text, parsed };
    let kind = checker.kind(&mut expression)?;
    if !kind.is(Kind::Bool) {
        return Err((expression.id, format!("a condition is true or false, and this is {}", kind.shown())));
    }
    if checker.parsed.auth && !authenticated {
        let why = "it is not known yet who asks: `auth` can be named in `authorize`".to_owned();
        return Err((expression.id, why));
    }
    Ok(Parsed { expression, ..checker.parsed })
}

impl Checker<'_> {
    fn kind(&mut self, node: &mut IdedExpr) -> Result<Kind, Wrong> {
        let id = node.id;
        match &mut node.expr {
            Expr::Unspecified => Ok(Kind::Any),
            Expr::Literal(value) => Ok(match value {
                LiteralValue::Boolean(_) => Kind::Bool,
                LiteralValue::Double(_) | LiteralValue::Int(_) | LiteralValue::UInt(_) => Kind::Number,
                LiteralValue::String(_) => Kind::Text,
                LiteralValue::Null => Kind::Null,
                LiteralValue::Bytes(_) => Kind::Any,
            }),
            Expr::Ident(name) => self.named(id, name),
            Expr::Select(select) => self.select(id, select),
            Expr::Call(call) => self.call(id, call),
            Expr::List(ListExpr { elements, .. }) => {
                elements.iter_mut().try_for_each(|element| self.kind(element).map(drop))?;
                Ok(Kind::List)
            }
            Expr::Map(map) => {
                for entry in &mut map.entries {
                    if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                        self.kind(&mut entry.key)?;
                        self.kind(&mut entry.value)?;
                    }
                }
                Ok(Kind::Map)
            }
            Expr::Struct(_) => Err((id, "a condition makes no messages".to_owned())),
            Expr::Comprehension(walk) => {
                let over = self.kind(&mut walk.iter_range)?;
                if !matches!(over, Kind::Any | Kind::List | Kind::Map | Kind::Texts) {
                    return Err((id, format!("{} is no list that could be walked over", over.shown())));
                }
                let kind = self.kind(&mut walk.accu_init)?;
                for part in [&mut walk.loop_cond, &mut walk.loop_step] {
                    self.kind(part)?;
                }
                self.kind(&mut walk.result)?;
                // `exists_one` counts, and then compares.
                Ok(if kind == Kind::Number { Kind::Bool } else { kind })
            }
        }
    }

    fn named(&mut self, id: u64, name: &str) -> Result<Kind, Wrong> {
        match name {
            "request" => {
                self.parsed.fields = [true; FIELDS.len()];
                Ok(Kind::Request)
            }
            "source" => {
                self.parsed.source = true;
                Ok(Kind::Source)
            }
            "auth" => {
                self.parsed.auth = true;
                Ok(Kind::Auth)
            }
            // What a macro counts with has a name that nobody can write.
            name if name.starts_with('@') || name.starts_with("__") || binds(self.text, name) => {
                Ok(Kind::Any)
            }
            _ => Err((id, format!("`{name}` is not known: there are `request`, `source` and `auth`"))),
        }
    }

    fn select(&mut self, id: u64, select: &mut SelectExpr) -> Result<Kind, Wrong> {
        let field = select.field.as_str();
        let unknown =
            |of: &str, are: &[&str]| (id, format!("`{of}` has no `{field}`: it has `{}`", are.join("`, `")));
        let kind = match &select.operand.expr {
            Expr::Ident(name) if name == "request" => {
                let at = FIELDS.iter().position(|known| *known == field);
                let at = at.ok_or_else(|| unknown("request", &FIELDS))?;
                if let Some(used) = self.parsed.fields.get_mut(at) {
                    *used = true;
                }
                if field == "headers" { Kind::Texts } else { Kind::Text }
            }
            _ => match (self.kind(&mut select.operand)?, field) {
                (Kind::Source, "address") | (Kind::Auth, "name") | (Kind::Texts, _) => Kind::Text,
                (Kind::Auth, "claims") => Kind::Map,
                (Kind::Source, _) => return Err(unknown("source", &["address"])),
                (Kind::Auth, _) => return Err(unknown("auth", &["name", "claims"])),
                (Kind::Any | Kind::Map | Kind::Request, _) => Kind::Any,
                (other, _) => return Err((id, format!("{} has no `{field}`", other.shown()))),
            },
        };
        Ok(if select.test { Kind::Bool } else { kind })
    }

    fn call(&mut self, id: u64, call: &mut CallExpr) -> Result<Kind, Wrong> {
        let mut kinds = Vec::new();
        // The name of a library stands where a value would: `optional.of(x)`.
        let library = call
            .target
            .as_ref()
            .is_some_and(|target| matches!(&target.expr, Expr::Ident(name) if name == "optional"));
        for part in
            call.target.iter_mut().filter(|_| !library).map(|target| &mut **target).chain(&mut call.args)
        {
            kinds.push(self.kind(part)?);
        }
        let of = |at: usize| kinds.get(at).copied().unwrap_or(Kind::Any);
        let (left, right) = (of(0), of(1));
        let needs = |kind: Kind, wanted: Kind| match kind.is(wanted) {
            true => Ok(()),
            false => Err((id, format!("{} is needed here, and this is {}", wanted.shown(), kind.shown()))),
        };
        match call.func_name.as_str() {
            op::LOGICAL_AND | op::LOGICAL_OR | op::LOGICAL_NOT => {
                kinds.iter().try_for_each(|kind| needs(*kind, Kind::Bool))?;
                Ok(Kind::Bool)
            }
            op::EQUALS | op::NOT_EQUALS | op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS => {
                if left != right && left != Kind::Any && right != Kind::Any {
                    let why = format!("{} is never compared with {}", left.shown(), right.shown());
                    return Err((id, why));
                }
                Ok(Kind::Bool)
            }
            op::IN => match right {
                Kind::Any | Kind::List | Kind::Map | Kind::Texts => Ok(Kind::Bool),
                other => {
                    Err((id, format!("nothing is `in` {}: that is asked of a list or map", other.shown())))
                }
            },
            op::INDEX => match left {
                Kind::Texts => needs(right, Kind::Text).map(|()| Kind::Text),
                Kind::Text | Kind::Number | Kind::Bool | Kind::Null => {
                    Err((id, format!("{} has no parts", left.shown())))
                }
                _ => Ok(Kind::Any),
            },
            op::CONDITIONAL => {
                needs(left, Kind::Bool)?;
                Ok(if right == of(2) { right } else { Kind::Any })
            }
            op::ADD if left != Kind::Any && right != Kind::Any && left != right => {
                Err((id, format!("{} and {} cannot be added", left.shown(), right.shown())))
            }
            op::ADD => Ok(if left == right { left } else { Kind::Any }),
            op::SUBSTRACT | op::MULTIPLY | op::DIVIDE | op::MODULO | op::NEGATE => {
                kinds.iter().try_for_each(|kind| needs(*kind, Kind::Number))?;
                Ok(Kind::Number)
            }
            "matches" => {
                needs(left, Kind::Text)?;
                self.pattern(id, call)
            }
            "startsWith" | "endsWith" | "contains" => {
                kinds.iter().try_for_each(|kind| needs(*kind, Kind::Text))?;
                Ok(Kind::Bool)
            }
            "size" | "int" | "uint" | "double" => Ok(Kind::Number),
            "string" => Ok(Kind::Text),
            "bool" => Ok(Kind::Bool),
            name if FUNCTIONS.contains(&name) || name.starts_with(['@', '_']) => Ok(Kind::Any),
            name => Err((id, format!("`{name}` is not a function of conditions"))),
        }
    }

    /// `a.matches('b')`, whose regular expression is made once.
    fn pattern(&mut self, id: u64, call: &mut CallExpr) -> Result<Kind, Wrong> {
        let text = call.args.last().and_then(|last| match &last.expr {
            Expr::Literal(LiteralValue::String(text)) => Some(text.inner().to_owned()),
            _ => None,
        });
        let Some(text) = text else {
            return Err((id, "a regular expression stands in the condition as a text".to_owned()));
        };
        if call.args.len() + usize::from(call.target.is_some()) != 2 {
            return Err((id, "`matches` holds one text against one regular expression".to_owned()));
        }
        if let Err(error) = regex::RegexBuilder::new(&text).size_limit(limits::ROUTE_REGEX_BYTES).build() {
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned();
            return Err((id, format!("`{text}` is not a regular expression: {why}")));
        }
        let number = i64::try_from(self.parsed.patterns.len()).unwrap_or(i64::MAX);
        self.parsed.patterns.push(text);
        let at = IdedExpr { id, expr: Expr::Literal(LiteralValue::Int(number.into())) };
        let target = call.target.take();
        call.args.pop();
        call.args.extend(target.map(|target| *target));
        call.args.push(at);
        call.func_name = MATCH.to_owned();
        Ok(Kind::Bool)
    }
}
