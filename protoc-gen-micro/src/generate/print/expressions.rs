//! Lays expressions out.

use super::layout::{Break, INDENT, Layout};
use super::syntax::{Cursor, Expr, Stmt};
use super::tokens::Kind;

/// The widest literal of a struct that is on one line.
const SHORT_STRUCT: usize = 34;

/// Makes a layout of tokens; `None` wherever there is something that is not known here.
#[derive(Debug)]
pub(crate) struct Writer<'t> {
    pub(crate) cursor: Cursor<'t>,
    pub(crate) layout: Layout<'t>,
}

// ===== impl Writer =====

impl<'t> Writer<'t> {
    pub(super) fn token(&mut self, index: usize) {
        let text = self.cursor.text_at(index);
        self.layout.word(text);
    }

    /// Writes the next token, which has to be a word.
    pub(crate) fn name(&mut self) -> Option<()> {
        let name = self.cursor.word()?;
        self.token(name);
        Some(())
    }

    /// Writes what is at another place.
    fn elsewhere(&mut self, at: usize, write: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        let here = std::mem::replace(&mut self.cursor.at, at);
        write(self)?;
        self.cursor.at = here;
        Some(())
    }

    pub(crate) fn expr(&mut self, expr: &Expr, first: bool) -> Option<()> {
        match expr {
            Expr::Literal(at) => self.token(*at),
            Expr::Path(at) => return self.elsewhere(*at, |writer| writer.path(true)),
            Expr::Unary(operator, of) => {
                self.layout.word(operator);
                return self.expr(of, false);
            }
            Expr::Call(function, arguments) => {
                if matches!(**function, Expr::Field(..)) {
                    return None;
                }
                self.expr(function, first)?;
                return self.arguments(arguments);
            }
            Expr::Method { receiver, .. } => {
                self.layout.group(INDENT);
                self.prefix(expr, first, first && self.is_short(receiver))?;
                self.layout.end();
            }
            Expr::Field(..) | Expr::Await(_) => {
                self.layout.group(INDENT);
                self.prefix(expr, first, false)?;
                self.layout.end();
            }
            Expr::Try(of) => {
                self.expr(of, first)?;
                self.layout.word("?");
            }
            Expr::Cast(of, to) => {
                self.layout.fill(INDENT);
                self.layout.fill(-INDENT);
                self.expr(of, false)?;
                self.layout.end();
                self.layout.space();
                self.layout.word("as ");
                self.elsewhere(*to, Writer::ty)?;
                self.layout.end();
            }
            Expr::Closure {
                moves,
                inputs,
                body,
            } => return self.closure(*moves, inputs, body),
            Expr::Async { moves, body } => {
                self.layout
                    .word(if *moves { "async move " } else { "async " });
                self.layout.group(INDENT);
                self.small_block(body)?;
                self.layout.end();
            }
            Expr::Block(body) => {
                self.layout.group(INDENT);
                self.small_block(body)?;
                self.layout.end();
            }
            Expr::Match(on, arms) => return self.matching(on, arms),
            Expr::Struct(path, fields) => return self.structure(*path, fields),
            Expr::Tuple(elements) => {
                if elements.len() == 1 {
                    return None;
                }
                self.layout.word("(");
                self.list(elements)?;
                self.layout.word(")");
            }
            Expr::Paren(inner) => {
                self.layout.word("(");
                self.expr(inner, false)?;
                self.layout.word(")");
            }
            Expr::Array(elements) => return self.array(elements),
        }
        Some(())
    }

    /// An expression that another one goes on from.
    fn prefix(&mut self, expr: &Expr, first: bool, unindent: bool) -> Option<()> {
        match expr {
            Expr::Method {
                receiver,
                name,
                generics,
                arguments,
            } => {
                self.prefix(receiver, first, false)?;
                self.dot(receiver, first);
                self.token(*name);
                if let Some(at) = generics {
                    self.layout.word("::");
                    self.elsewhere(*at, |writer| writer.type_arguments())?;
                }
                self.layout.group(if unindent { -INDENT } else { 0 });
                self.arguments(arguments)?;
                self.layout.end();
            }
            Expr::Field(of, name) => {
                self.prefix(of, first, false)?;
                self.dot(of, first);
                self.token(*name);
            }
            Expr::Await(of) => {
                self.prefix(of, first, false)?;
                self.dot(of, first);
                self.layout.word("await");
            }
            Expr::Try(of) => {
                self.prefix(of, first, false)?;
                self.layout.word("?");
            }
            Expr::Call(function, arguments) => {
                if matches!(**function, Expr::Field(..)) {
                    return None;
                }
                self.prefix(function, false, false)?;
                self.arguments(arguments)?;
            }
            _ => {
                self.layout.group(-INDENT);
                self.expr(expr, false)?;
                self.layout.end();
            }
        }
        Some(())
    }

    fn dot(&mut self, after: &Expr, first: bool) {
        if !(first && self.is_short(after)) {
            self.layout.zero();
        }
        self.layout.word(".");
    }

    /// Whether it is a name no longer than the indentation, which a line does not end behind.
    fn is_short(&self, expr: &Expr) -> bool {
        let Expr::Path(at) = expr else { return false };
        let next = Cursor {
            at: at + 1,
            ..self.cursor
        };
        self.cursor.kind_at(*at) == Some(Kind::Word)
            && !next.is_colons()
            && self.cursor.text_at(*at).len() <= INDENT.unsigned_abs()
    }

    fn arguments(&mut self, arguments: &[Expr]) -> Option<()> {
        self.layout.word("(");
        match arguments {
            [one] if one.is_block_like() => self.expr(one, false)?,
            _ => self.list(arguments)?,
        }
        self.layout.word(")");
        Some(())
    }

    fn list(&mut self, elements: &[Expr]) -> Option<()> {
        self.layout.group(INDENT);
        self.layout.zero();
        for (index, element) in elements.iter().enumerate() {
            self.expr(element, false)?;
            self.layout.comma(index + 1 == elements.len());
        }
        self.layout.offset(-INDENT);
        self.layout.end();
        Some(())
    }

    fn array(&mut self, elements: &[Expr]) -> Option<()> {
        // Numbers fill lines; other elements have one each.
        let is_number = |element: &Expr| match element {
            Expr::Literal(at) => self
                .cursor
                .text_at(*at)
                .starts_with(|first: char| first.is_ascii_digit()),
            _ => false,
        };
        if !elements.is_empty() && elements.iter().all(is_number) {
            return None;
        }
        self.layout.word("[");
        self.list(elements)?;
        self.layout.word("]");
        Some(())
    }

    fn closure(&mut self, moves: bool, inputs: &[usize], body: &Expr) -> Option<()> {
        self.layout.fill(0);
        if moves {
            self.layout.word("move ");
        }
        self.layout.group(INDENT);
        self.layout.word("|");
        for (index, input) in inputs.iter().enumerate() {
            if index == 0 {
                self.layout.zero();
            }
            self.token(*input);
            if index + 1 < inputs.len() {
                self.layout.word(",");
                self.layout.space();
            }
        }
        self.layout.word("|");
        self.layout.space();
        self.layout.offset(-INDENT);
        self.layout.end();
        self.layout.never();
        let alone = matches!(body, Expr::Match(..) | Expr::Call(..)) || body.is_block_like();
        if alone {
            self.expr(body, false)?;
        } else {
            self.layout.group(INDENT);
            self.layout.brk(Break {
                before: "{",
                ..Break::default()
            });
            self.expr(body, false)?;
            self.layout.brk(Break {
                offset: -INDENT,
                after: "}",
                ..Break::default()
            });
            self.layout.end();
        }
        self.layout.end();
        Some(())
    }

    fn matching(&mut self, on: &Expr, arms: &[(usize, Expr)]) -> Option<()> {
        self.layout.fill(0);
        self.layout.word("match ");
        self.layout.group(0);
        self.expr(on, false)?;
        if ends_in_dots(on)? {
            self.layout.space();
        } else {
            self.layout.word(" ");
        }
        self.layout.end();
        self.layout.word("{");
        self.layout.never();
        self.layout.group(INDENT);
        self.layout.hard_if_nonempty();
        for (pattern, body) in arms {
            self.arm(*pattern, body)?;
            self.layout.hard();
        }
        self.layout.offset(-INDENT);
        self.layout.end();
        self.layout.word("}");
        self.layout.end();
        Some(())
    }

    fn arm(&mut self, pattern: usize, body: &Expr) -> Option<()> {
        let mut body = body;
        while let Expr::Block(statements) = body
            && let [
                Stmt::Expr {
                    value,
                    semicolon: false,
                },
            ] = statements.as_slice()
        {
            body = value;
        }
        self.layout.fill(0);
        self.elsewhere(pattern, Writer::pattern)?;
        self.layout.word(" => ");
        let unit = matches!(body, Expr::Tuple(elements) if elements.is_empty());
        match body {
            Expr::Match(..) => return None,
            _ if unit => {
                // What would be a break in an empty group.
                self.layout.word("{");
                self.layout.never();
                self.layout.word("}");
            }
            Expr::Block(statements) => {
                self.layout.word("{");
                self.layout.never();
                self.layout.group(INDENT);
                self.layout.hard_if_nonempty();
                self.statements(statements)?;
                self.layout.offset(-INDENT);
                self.layout.end();
                self.layout.word("}");
            }
            _ => {
                self.layout.never();
                self.layout.group(INDENT);
                self.layout.brk(Break {
                    before: "{",
                    ..Break::default()
                });
                self.expr(body, true)?;
                self.layout.brk(Break {
                    offset: -INDENT,
                    after: "}",
                    otherwise: ",",
                    ..Break::default()
                });
                self.layout.end();
            }
        }
        self.layout.end();
        Some(())
    }

    fn structure(&mut self, path: usize, fields: &[(usize, Option<Expr>)]) -> Option<()> {
        self.layout.group(INDENT);
        self.layout.fill(-INDENT);
        self.elsewhere(path, |writer| writer.path(true))?;
        self.layout.end();
        self.layout.word(" {");
        self.layout.brk(Break {
            blank: 1,
            if_nonempty: true,
            ..Break::default()
        });
        for (index, (name, value)) in fields.iter().enumerate() {
            self.token(*name);
            if let Some(value) = value {
                self.layout.word(": ");
                self.layout.fill(0);
                self.expr(value, false)?;
                self.layout.end();
            }
            if index + 1 == fields.len() {
                self.layout.brk(Break {
                    blank: 1,
                    before: ",",
                    ..Break::default()
                });
            } else {
                self.layout.comma(false);
            }
        }
        self.layout.offset(-INDENT);
        self.layout.end_within(SHORT_STRUCT);
        self.layout.word("}");
        Some(())
    }

    fn small_block(&mut self, statements: &[Stmt]) -> Option<()> {
        self.layout.word("{");
        if !statements.is_empty() {
            self.layout.space();
            if let [
                Stmt::Expr {
                    value,
                    semicolon: false,
                },
            ] = statements
            {
                self.layout.fill(0);
                self.expr(value, true)?;
                self.layout.end();
                self.layout.space();
            } else {
                self.statements(statements)?;
            }
            self.layout.offset(-INDENT);
        }
        self.layout.word("}");
        Some(())
    }

    pub(crate) fn statements(&mut self, statements: &[Stmt]) -> Option<()> {
        for statement in statements {
            self.layout.fill(0);
            match statement {
                Stmt::Let {
                    mutable,
                    name,
                    value,
                } => {
                    self.layout.word(if *mutable { "let mut " } else { "let " });
                    self.token(*name);
                    self.layout.word(" = ");
                    self.layout.never();
                    self.expr(value, false)?;
                    self.layout.end();
                    self.layout.word(";");
                    self.layout.hard();
                    continue;
                }
                Stmt::Expr { value, semicolon } => {
                    self.expr(value, true)?;
                    if *semicolon {
                        self.layout.word(";");
                    }
                }
            }
            self.layout.end();
            self.layout.hard();
        }
        Some(())
    }
}

/// Whether a line may end between it and what follows, because it goes on over dots.
fn ends_in_dots(expr: &Expr) -> Option<bool> {
    match expr {
        Expr::Method { .. } | Expr::Field(..) | Expr::Await(_) | Expr::Cast(..) => Some(true),
        Expr::Call(of, _) | Expr::Try(of) | Expr::Unary(_, of) | Expr::Paren(of) => {
            ends_in_dots(of)
        }
        Expr::Path(_) | Expr::Literal(_) => Some(false),
        _ => None,
    }
}
