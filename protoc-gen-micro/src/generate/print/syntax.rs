//! The expressions and statements that generated code is made of, in a tree of no more than one function.

use super::tokens::{Kind, Tokens};

/// An expression; numbers are indexes of tokens.
#[derive(Debug)]
pub(crate) enum Expr {
    Literal(usize),
    Path(usize),
    /// With its operator in front: `&`, `&mut `, `*` and so on.
    Unary(&'static str, Box<Expr>),
    Call(Box<Expr>, Vec<Expr>),
    Method {
        receiver: Box<Expr>,
        name: usize,
        /// Where its type arguments begin.
        generics: Option<usize>,
        arguments: Vec<Expr>,
    },
    Field(Box<Expr>, usize),
    Await(Box<Expr>),
    Try(Box<Expr>),
    Cast(Box<Expr>, usize),
    Closure {
        moves: bool,
        inputs: Vec<usize>,
        body: Box<Expr>,
    },
    Async {
        moves: bool,
        body: Vec<Stmt>,
    },
    Block(Vec<Stmt>),
    Match(Box<Expr>, Vec<(usize, Expr)>),
    Struct(usize, Vec<(usize, Option<Expr>)>),
    Tuple(Vec<Expr>),
    Paren(Box<Expr>),
    Array(Vec<Expr>),
}

/// A statement.
#[derive(Debug)]
pub(crate) enum Stmt {
    Let {
        mutable: bool,
        name: usize,
        value: Expr,
    },
    Expr {
        value: Expr,
        semicolon: bool,
    },
}

/// Reads tokens, from the one at `at` on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'t> {
    pub(crate) tokens: &'t Tokens,
    pub(crate) at: usize,
}

// ===== impl Cursor =====

impl<'t> Cursor<'t> {
    pub(crate) fn text_at(&self, index: usize) -> &'t str {
        let token = self.tokens.all.get(index);
        token
            .and_then(|token| self.tokens.source.get(token.text.clone()))
            .unwrap_or_default()
    }

    pub(crate) fn kind_at(&self, index: usize) -> Option<Kind> {
        self.tokens.all.get(index).map(|token| token.kind)
    }

    /// One token further on.
    pub(crate) fn next(self) -> Cursor<'t> {
        Cursor {
            at: self.at + 1,
            ..self
        }
    }

    pub(crate) fn text(&self) -> &'t str {
        self.text_at(self.at)
    }

    pub(crate) fn kind(&self) -> Option<Kind> {
        self.kind_at(self.at)
    }

    pub(crate) fn is(&self, text: &str) -> bool {
        self.text() == text && self.kind() != Some(Kind::Literal)
    }

    /// Whether two punctuation marks come next that belong together.
    pub(crate) fn is_pair(&self, pair: [&str; 2]) -> bool {
        self.kind() == Some(Kind::Punct { joint: true })
            && self.text() == pair[0]
            && self.text_at(self.at + 1) == pair[1]
    }

    pub(crate) fn is_colons(&self) -> bool {
        self.is_pair([":", ":"])
    }

    pub(crate) fn eat(&mut self, text: &str) -> bool {
        let found = self.is(text);
        self.at += usize::from(found);
        found
    }

    pub(crate) fn eat_pair(&mut self, pair: [&str; 2]) -> bool {
        let found = self.is_pair(pair);
        self.at += 2 * usize::from(found);
        found
    }

    pub(crate) fn expect(&mut self, text: &str) -> Option<()> {
        self.eat(text).then_some(())
    }

    /// The next token, which has to be a word.
    pub(crate) fn word(&mut self) -> Option<usize> {
        let found = self.kind() == Some(Kind::Word);
        self.at += usize::from(found);
        found.then(|| self.at - 1)
    }

    /// Skips a group, or one token.
    pub(crate) fn skip_tree(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.kind()? {
                Kind::Open => depth += 1,
                Kind::Close => depth = depth.checked_sub(1)?,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// Skips `<…>`.
    pub(crate) fn skip_generics(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            if self.eat_pair(["-", ">"]) {
                continue;
            }
            match self.text() {
                "<" => depth += 1,
                ">" => depth -= 1,
                _ => {}
            }
            self.skip_tree()?;
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// Skips a path; in an expression, arguments of types stand behind `::`.
    fn skip_path(&mut self) -> Option<()> {
        if self.is("<") {
            self.skip_generics()?;
        } else {
            self.eat_pair([":", ":"]);
            self.word()?;
        }
        while self.eat_pair([":", ":"]) {
            if self.is("<") {
                self.skip_generics()?;
            } else {
                self.word()?;
            }
        }
        Some(())
    }

    /// Reads expressions up to the end of the group that has been opened, and its end.
    fn list(&mut self) -> Option<Vec<Expr>> {
        let mut found = Vec::new();
        while self.kind()? != Kind::Close {
            found.push(self.expr(true)?);
            if self.kind()? != Kind::Close {
                self.expect(",")?;
            }
        }
        self.at += 1;
        Some(found)
    }

    /// Reads an expression; `whole` unless a brace behind it is not its own.
    pub(crate) fn expr(&mut self, whole: bool) -> Option<Expr> {
        for (operator, printed) in [("&", "&"), ("*", "*"), ("-", "-"), ("!", "!")] {
            if self.is(operator) {
                self.at += 1;
                let printed = match operator {
                    "&" if self.eat("mut") => "&mut ",
                    _ => printed,
                };
                let of = self.expr(whole)?;
                // A cast would be of the whole.
                return (!matches!(of, Expr::Cast(..))).then(|| Expr::Unary(printed, Box::new(of)));
            }
        }
        let first = self.primary(whole)?;
        let mut value = self.postfix(first)?;
        if self.eat("as") {
            let of = self.at;
            self.skip_type()?;
            value = Expr::Cast(Box::new(value), of);
        }
        let ends = match self.kind() {
            None | Some(Kind::Close) => true,
            Some(Kind::Open) => !whole && self.is("{"),
            _ => self.is(",") || self.is(";"),
        };
        ends.then_some(value)
    }

    fn primary(&mut self, whole: bool) -> Option<Expr> {
        let at = self.at;
        match (self.kind()?, self.text()) {
            (Kind::Literal, _) => {
                self.at += 1;
                Some(Expr::Literal(at))
            }
            (Kind::Open, "(") => {
                self.at += 1;
                let closes = self.list()?;
                let comma = self.text_at(self.at - 2) == ",";
                match <[Expr; 1]>::try_from(closes) {
                    Ok([one]) if !comma => Some(Expr::Paren(Box::new(one))),
                    Ok(_) => None,
                    Err(several) => Some(Expr::Tuple(several)),
                }
            }
            (Kind::Open, "[") => {
                self.at += 1;
                self.list().map(Expr::Array)
            }
            (Kind::Open, "{") => self.block().map(Expr::Block),
            (Kind::Word, "match") => {
                self.at += 1;
                let on = self.expr(false)?;
                self.arms().map(|arms| Expr::Match(Box::new(on), arms))
            }
            (Kind::Word, "async") => {
                self.at += 1;
                let moves = self.eat("move");
                self.block().map(|body| Expr::Async { moves, body })
            }
            (Kind::Word, "move") => {
                self.at += 1;
                self.closure(true)
            }
            (Kind::Punct { .. }, "|") => self.closure(false),
            (
                Kind::Word,
                "if" | "for" | "while" | "loop" | "return" | "break" | "continue" | "unsafe"
                | "let" | "const" | "static" | "yield",
            ) => None,
            _ => {
                self.skip_path()?;
                if self.is("!") {
                    return None;
                }
                if whole && self.is("{") {
                    return self.fields().map(|fields| Expr::Struct(at, fields));
                }
                Some(Expr::Path(at))
            }
        }
    }

    fn postfix(&mut self, first: Expr) -> Option<Expr> {
        let mut value = first;
        loop {
            if self.eat("?") {
                value = Expr::Try(Box::new(value));
            } else if self.is("(") {
                self.at += 1;
                value = Expr::Call(Box::new(value), self.list()?);
            } else if self.is(".") && self.kind() == Some(Kind::Punct { joint: false }) {
                self.at += 1;
                let name = self.word()?;
                let generics = self.eat_pair([":", ":"]).then_some(self.at);
                if generics.is_some() {
                    self.skip_generics()?;
                }
                let receiver = Box::new(value);
                value = if self.is("(") {
                    self.at += 1;
                    let arguments = self.list()?;
                    Expr::Method {
                        receiver,
                        name,
                        generics,
                        arguments,
                    }
                } else if self.text_at(name) == "await" {
                    Expr::Await(receiver)
                } else {
                    Expr::Field(receiver, name)
                };
            } else if self.is("[") {
                return None;
            } else {
                return Some(value);
            }
        }
    }

    fn closure(&mut self, moves: bool) -> Option<Expr> {
        self.expect("|")?;
        let mut inputs = Vec::new();
        while !self.eat("|") {
            inputs.push(self.word()?);
            if !self.is("|") {
                self.expect(",")?;
            }
        }
        let body = Box::new(self.expr(true)?);
        Some(Expr::Closure {
            moves,
            inputs,
            body,
        })
    }

    fn arms(&mut self) -> Option<Vec<(usize, Expr)>> {
        self.expect("{")?;
        let mut arms = Vec::new();
        while self.kind()? != Kind::Close {
            let pattern = self.at;
            if self.is("#") {
                return None;
            }
            while !self.eat_pair(["=", ">"]) {
                if self.is("if") {
                    return None;
                }
                self.skip_tree()?;
            }
            let body = if self.is("{") {
                let body = Expr::Block(self.block()?);
                self.eat(",");
                body
            } else {
                let body = self.expr(true)?;
                if self.kind()? != Kind::Close {
                    self.expect(",")?;
                }
                body
            };
            arms.push((pattern, body));
        }
        self.at += 1;
        Some(arms)
    }

    fn fields(&mut self) -> Option<Vec<(usize, Option<Expr>)>> {
        self.expect("{")?;
        let mut fields = Vec::new();
        while self.kind()? != Kind::Close {
            let name = self.word()?;
            let value = match self.eat(":") {
                true => Some(self.expr(true)?),
                false => None,
            };
            fields.push((name, value));
            if self.kind()? != Kind::Close {
                self.expect(",")?;
            }
        }
        self.at += 1;
        Some(fields)
    }

    /// Reads a block's statements, with its braces.
    pub(crate) fn block(&mut self) -> Option<Vec<Stmt>> {
        self.expect("{")?;
        let mut found = Vec::new();
        while self.kind()? != Kind::Close {
            found.push(self.statement()?);
        }
        self.at += 1;
        Some(found)
    }

    fn statement(&mut self) -> Option<Stmt> {
        if self.eat("let") {
            let mutable = self.eat("mut");
            let name = self.word()?;
            if self.is_pair(["=", "="]) {
                return None;
            }
            self.expect("=")?;
            let value = self.expr(true)?;
            self.expect(";")?;
            return Some(Stmt::Let {
                mutable,
                name,
                value,
            });
        }
        if matches!(self.text(), "match" | "{") && self.kind() != Some(Kind::Literal) {
            // Ends where its braces do.
            let value = self.primary(true)?;
            let semicolon = self.eat(";");
            let goes_on = self.is(".") || self.is("?") || self.is("as");
            return (!goes_on).then_some(Stmt::Expr { value, semicolon });
        }
        let value = self.expr(true)?;
        let semicolon = self.eat(";");
        (semicolon || self.kind()? == Kind::Close).then_some(Stmt::Expr { value, semicolon })
    }

    /// Skips a type behind `as`: a path.
    fn skip_type(&mut self) -> Option<()> {
        self.eat_pair([":", ":"]);
        self.word()?;
        while self.eat_pair([":", ":"]) {
            self.word()?;
        }
        (!self.is("<")).then_some(())
    }
}

// ===== impl Expr =====

impl Expr {
    /// Whether it stands in a call's parentheses by itself without a line of its own.
    pub(crate) fn is_block_like(&self) -> bool {
        matches!(
            self,
            Expr::Array(_)
                | Expr::Async { .. }
                | Expr::Block(_)
                | Expr::Closure { .. }
                | Expr::Struct(..)
                | Expr::Tuple(_)
        )
    }
}
