//! Lays paths, types and patterns out.

use super::expressions::Writer;
use super::layout::INDENT;
use super::tokens::Kind;

// ===== impl Writer =====

impl Writer<'_> {
    /// A pattern, up to `=>` or what ends one inside of another.
    pub(super) fn pattern(&mut self) -> Option<()> {
        let start = self.cursor.at;
        let mut cases = 1_usize;
        let mut simple = true;
        let mut ahead = self.cursor;
        loop {
            let ends = ahead.is_pair(["=", ">"])
                || ahead.is(",")
                || matches!(ahead.kind(), None | Some(Kind::Close));
            if ends {
                break;
            }
            match ahead.kind()? {
                Kind::Literal => {}
                _ if ahead.is("|") => cases += 1,
                _ if ahead.is("_") => {}
                _ => simple = false,
            }
            ahead.skip_tree()?;
        }
        self.cursor.at = start;
        if cases == 1 {
            return self.case();
        }
        if simple {
            self.layout.fill(0);
        } else {
            self.layout.group(0);
        }
        for index in 0..cases {
            if index > 0 {
                self.cursor.expect("|")?;
                self.layout.space();
                self.layout.word("| ");
            }
            self.case()?;
        }
        self.layout.end();
        Some(())
    }

    fn case(&mut self) -> Option<()> {
        if self.cursor.kind()? == Kind::Literal || self.cursor.is("_") {
            self.token(self.cursor.at);
            self.cursor.at += 1;
            return Some(());
        }
        if matches!(self.cursor.text(), "ref" | "mut" | "&") {
            return None;
        }
        self.path(true)?;
        if self.cursor.eat("(") {
            self.layout.word("(");
            self.layout.group(INDENT);
            self.layout.zero();
            loop {
                self.pattern()?;
                let last = !self.cursor.eat(",") || self.cursor.is(")");
                self.layout.comma(last);
                if last {
                    break;
                }
            }
            self.cursor.expect(")")?;
            self.layout.offset(-INDENT);
            self.layout.end();
            self.layout.word(")");
        }
        let ends = self.cursor.is_pair(["=", ">"])
            || self.cursor.is(",")
            || self.cursor.is("|")
            || self.cursor.is(")");
        ends.then_some(())
    }

    /// A path; in an expression, arguments of types stand behind `::`.
    pub(crate) fn path(&mut self, in_expr: bool) -> Option<()> {
        if in_expr && self.cursor.eat("<") {
            self.layout.word("<");
            self.ty()?;
            self.cursor.expect("as")?;
            self.layout.word(" as ");
            self.path(false)?;
            self.cursor.expect(">")?;
            self.layout.word(">");
        } else {
            if self.cursor.eat_pair([":", ":"]) {
                self.layout.word("::");
            }
            self.name()?;
        }
        loop {
            if !in_expr && self.cursor.is("<") {
                self.type_arguments()?;
            }
            if !self.cursor.eat_pair([":", ":"]) {
                return Some(());
            }
            self.layout.word("::");
            if self.cursor.is("<") {
                if !in_expr {
                    return None;
                }
                self.type_arguments()?;
            } else {
                self.name()?;
            }
        }
    }

    pub(super) fn type_arguments(&mut self) -> Option<()> {
        self.cursor.expect("<")?;
        self.layout.word("<");
        self.layout.group(INDENT);
        self.layout.zero();
        let mut after_types = false;
        loop {
            if self.cursor.is("'") {
                // Lifetimes come first.
                if after_types {
                    return None;
                }
                self.lifetime()?;
            } else {
                after_types = true;
                let next = self.cursor.next();
                if self.cursor.kind()? == Kind::Word && next.is("=") {
                    self.name()?;
                    self.cursor.expect("=")?;
                    self.layout.word(" = ");
                }
                self.ty()?;
            }
            let last = !self.cursor.eat(",") || self.cursor.is(">");
            self.layout.comma(last);
            if last {
                break;
            }
        }
        self.cursor.expect(">")?;
        self.layout.offset(-INDENT);
        self.layout.end();
        self.layout.word(">");
        Some(())
    }

    fn lifetime(&mut self) -> Option<()> {
        self.cursor.expect("'")?;
        self.layout.word("'");
        self.name()
    }

    pub(crate) fn ty(&mut self) -> Option<()> {
        if self.cursor.eat("&") {
            self.layout.word("&");
            if self.cursor.is("'") {
                self.lifetime()?;
                self.layout.word(" ");
            }
            if self.cursor.eat("mut") {
                self.layout.word("mut ");
            }
            return self.ty();
        }
        if self.cursor.eat("(") {
            // Of tuples, only the empty one.
            self.layout.word("(");
            self.layout.word(")");
            return self.cursor.expect(")");
        }
        if self.cursor.eat("[") {
            self.layout.word("[");
            self.ty()?;
            self.layout.word("]");
            return self.cursor.expect("]");
        }
        if self.cursor.eat("impl") {
            self.layout.word("impl ");
            loop {
                self.bound()?;
                if !self.cursor.eat("+") {
                    return Some(());
                }
                self.layout.word(" + ");
            }
        }
        if matches!(self.cursor.text(), "dyn" | "fn" | "for" | "<" | "*" | "!") {
            return None;
        }
        self.path(false)
    }

    /// A bound of a type.
    pub(crate) fn bound(&mut self) -> Option<()> {
        if self.cursor.is("'") {
            return self.lifetime();
        }
        if matches!(self.cursor.text(), "?" | "for" | "(") {
            return None;
        }
        self.path(false)
    }
}
