//! Lays items out: those in the forms that services and JSON are generated in.

use super::expressions::Writer;
use super::layout::INDENT;
use super::tokens::Kind;

/// What an item turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Laid out whole.
    Item,
    /// A module up to its opening brace; its items follow.
    Module,
}

// ===== impl Writer =====

impl Writer<'_> {
    /// Lays the next item out; `allow` stands in front of an implementation.
    pub(crate) fn item(&mut self, allow: Option<&'static str>) -> Option<Found> {
        // The attribute of an implementation is above those it has.
        let mut ahead = self.cursor;
        while ahead.kind()? == Kind::Doc || ahead.is("#") {
            if ahead.eat("#") {
                ahead.skip_tree()?;
            } else {
                ahead.at += 1;
            }
        }
        if let (true, Some(allow)) = (ahead.is("impl"), allow) {
            self.layout.word(allow);
            self.layout.space();
        }
        self.attributes()?;
        let start = self.cursor;
        let public = self.cursor.eat("pub");
        if public && self.cursor.is("(") {
            return None;
        }
        let keyword = self.cursor.text();
        match keyword {
            "static" | "const" => {
                self.cursor = start;
                self.constant()?;
            }
            "use" => {
                self.visibility(public);
                self.cursor.at += 1;
                self.layout.word("use ");
                if self.cursor.eat_pair([":", ":"]) {
                    self.layout.word("::");
                }
                self.use_tree()?;
                self.cursor.expect(";")?;
                self.layout.word(";");
                self.layout.hard();
            }
            "fn" | "async" => {
                self.layout.group(INDENT);
                self.visibility(public);
                self.function(false)?;
            }
            "mod" => {
                self.visibility(public);
                self.cursor.at += 1;
                self.layout.word("mod ");
                self.name()?;
                self.layout.word(" {");
                self.layout.hard();
                self.cursor.expect("{")?;
                // An empty one is on one line.
                return (self.cursor.kind()? != Kind::Close).then_some(Found::Module);
            }
            "struct" => self.structure_item(public)?,
            "trait" => self.trait_item(public)?,
            "impl" if !public => self.implementation()?,
            _ => return None,
        }
        Some(Found::Item)
    }

    fn visibility(&mut self, public: bool) {
        if public {
            self.layout.word("pub ");
        }
    }

    fn attributes(&mut self) -> Option<()> {
        loop {
            if self.cursor.kind()? == Kind::Doc {
                let text = self.cursor.text();
                self.cursor.at += 1;
                self.layout.word(text);
                self.layout.hard();
                continue;
            }
            if !self.cursor.eat("#") {
                return Some(());
            }
            self.cursor.expect("[")?;
            if self.cursor.is("doc") && !self.cursor.next().is("(") {
                return None;
            }
            self.layout.word("#[");
            self.path(false)?;
            if self.cursor.is("(") {
                self.attribute_arguments()?;
            } else if self.cursor.eat("=") {
                if self.cursor.kind()? != Kind::Literal {
                    return None;
                }
                self.layout.word(" = ");
                let text = self.cursor.text();
                self.layout.word(text);
                self.cursor.at += 1;
            }
            self.cursor.expect("]")?;
            self.layout.word("]");
            self.layout.space();
        }
    }

    /// The arguments of an attribute: words, `=` and literals between commas.
    fn attribute_arguments(&mut self) -> Option<()> {
        self.cursor.expect("(")?;
        self.layout.word("(");
        self.layout.group(INDENT);
        self.layout.zero();
        let mut after_word = false;
        let mut trailing = false;
        loop {
            let text = self.cursor.text();
            match self.cursor.kind()? {
                Kind::Close => break,
                Kind::Word | Kind::Literal => {
                    if after_word {
                        self.layout.space();
                    }
                    self.layout.word(text);
                    after_word = true;
                }
                Kind::Punct { .. } => {
                    if after_word && text == "=" {
                        self.layout.word(" ");
                    }
                    if text == "," && self.cursor.next().kind()? == Kind::Close {
                        self.layout.comma(true);
                        trailing = true;
                        self.cursor.at += 1;
                        continue;
                    }
                    self.layout.word(text);
                    match text {
                        "=" => self.layout.word(" "),
                        "," => self.layout.space(),
                        _ => {}
                    }
                    after_word = false;
                }
                Kind::Open | Kind::Doc => return None,
            }
            self.cursor.at += 1;
        }
        if !trailing {
            self.layout.zero();
        }
        self.layout.offset(-INDENT);
        self.layout.end();
        self.cursor.expect(")")?;
        self.layout.word(")");
        Some(())
    }

    /// A constant or a static, with its visibility.
    fn constant(&mut self) -> Option<()> {
        self.layout.group(0);
        let public = self.cursor.eat("pub");
        self.visibility(public);
        self.layout.word(match self.cursor.text() {
            "const" => "const ",
            _ => "static ",
        });
        self.cursor.at += 1;
        if self.cursor.is("mut") {
            return None;
        }
        self.name()?;
        self.cursor.expect(":")?;
        self.layout.word(": ");
        self.ty()?;
        self.cursor.expect("=")?;
        self.layout.word(" = ");
        self.layout.never();
        let value = self.cursor.expr(true)?;
        self.expr(&value, false)?;
        self.cursor.expect(";")?;
        self.layout.word(";");
        self.layout.end();
        self.layout.hard();
        Some(())
    }

    fn use_tree(&mut self) -> Option<()> {
        if self.cursor.is("{") {
            return self.use_group();
        }
        self.name()?;
        if self.cursor.eat_pair([":", ":"]) {
            self.layout.word("::");
            return self.use_tree();
        }
        if self.cursor.eat("as") {
            self.layout.word(" as ");
            return self.name();
        }
        Some(())
    }

    fn use_group(&mut self) -> Option<()> {
        self.cursor.expect("{")?;
        let mut ahead = self.cursor;
        let mut count = 1;
        while ahead.kind()? != Kind::Close {
            // Groups inside of a group have lines of their own.
            if ahead.kind()? == Kind::Open || ahead.is("self") {
                return None;
            }
            if ahead.eat(",") {
                count += usize::from(ahead.kind()? != Kind::Close);
            } else {
                ahead.skip_tree()?;
            }
        }
        if count == 1 {
            self.use_tree()?;
            self.cursor.eat(",");
            return self.cursor.expect("}");
        }
        self.layout.group(INDENT);
        self.layout.word("{");
        self.layout.zero();
        self.layout.fill(0);
        for index in 1..=count {
            self.use_tree()?;
            let comma = self.cursor.eat(",");
            if index < count {
                comma.then_some(())?;
                self.layout.word(",");
                self.layout.space();
            }
        }
        self.layout.end();
        self.layout.comma(true);
        self.layout.offset(-INDENT);
        self.cursor.expect("}")?;
        self.layout.word("}");
        self.layout.end();
        Some(())
    }

    /// A function in the group that has been opened, which it ends; `declared` if it may have no body.
    fn function(&mut self, declared: bool) -> Option<()> {
        if self.cursor.eat("async") {
            self.layout.word("async ");
        }
        self.cursor.expect("fn")?;
        self.layout.word("fn ");
        self.name()?;
        self.type_parameters()?;
        self.cursor.expect("(")?;
        self.layout.word("(");
        self.layout.never();
        self.layout.group(0);
        self.layout.zero();
        while self.cursor.kind()? != Kind::Close {
            self.parameter()?;
            let last = !self.cursor.eat(",") || self.cursor.kind()? == Kind::Close;
            self.layout.comma(last);
        }
        self.layout.offset(-INDENT);
        self.layout.end();
        self.cursor.expect(")")?;
        self.layout.word(")");
        self.layout.group(-INDENT);
        if self.cursor.eat_pair(["-", ">"]) {
            self.layout.word(" -> ");
            self.ty()?;
        }
        self.layout.end();
        if declared && self.cursor.eat(";") {
            self.layout.word(";");
            self.layout.end();
            self.layout.hard();
            return Some(());
        }
        self.layout.word(" {");
        self.layout.hard_if_nonempty();
        let body = self.cursor.block()?;
        self.statements(&body)?;
        self.close();
        Some(())
    }

    /// Ends the group and the braces of an item.
    fn close(&mut self) {
        self.layout.offset(-INDENT);
        self.layout.end();
        self.layout.word("}");
        self.layout.hard();
    }

    fn parameter(&mut self) -> Option<()> {
        if self.cursor.eat("&") {
            self.layout.word("&");
            if self.cursor.eat("mut") {
                self.layout.word("mut ");
            }
            self.cursor.expect("self")?;
            self.layout.word("self");
            return (!self.cursor.is(":")).then_some(());
        }
        if self.cursor.eat("self") {
            self.layout.word("self");
            return (!self.cursor.is(":")).then_some(());
        }
        if self.cursor.is("mut") || self.cursor.is("#") {
            return None;
        }
        if self.cursor.eat("_") {
            self.layout.word("_");
        } else {
            self.name()?;
        }
        self.cursor.expect(":")?;
        self.layout.word(": ");
        self.ty()
    }

    /// `<A: B + C>`, if it is there.
    fn type_parameters(&mut self) -> Option<()> {
        if !self.cursor.eat("<") {
            return Some(());
        }
        self.layout.word("<");
        self.layout.group(0);
        self.layout.zero();
        loop {
            if self.cursor.is("const") {
                return None;
            }
            self.name()?;
            self.layout.fill(INDENT);
            if self.cursor.eat(":") {
                self.layout.word(": ");
                self.bound()?;
                while self.cursor.eat("+") {
                    self.layout.space();
                    self.layout.word("+ ");
                    self.bound()?;
                }
            }
            self.layout.end();
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

    fn structure_item(&mut self, public: bool) -> Option<()> {
        self.layout.group(INDENT);
        self.visibility(public);
        self.cursor.at += 1;
        self.layout.word("struct ");
        self.name()?;
        self.type_parameters()?;
        self.layout.word(" {");
        self.cursor.expect("{")?;
        self.layout.hard_if_nonempty();
        while self.cursor.kind()? != Kind::Close {
            self.attributes()?;
            let public = self.cursor.eat("pub");
            if public && self.cursor.is("(") {
                return None;
            }
            self.visibility(public);
            self.name()?;
            self.cursor.expect(":")?;
            self.layout.word(": ");
            self.ty()?;
            self.layout.word(",");
            self.layout.hard();
            if !self.cursor.eat(",") {
                break;
            }
        }
        self.cursor.expect("}")?;
        self.close();
        Some(())
    }

    fn trait_item(&mut self, public: bool) -> Option<()> {
        self.layout.group(INDENT);
        self.visibility(public);
        self.cursor.at += 1;
        self.layout.word("trait ");
        self.name()?;
        self.type_parameters()?;
        if self.cursor.eat(":") {
            self.layout.word(": ");
            self.bound()?;
            while self.cursor.eat("+") {
                self.layout.word(" + ");
                self.bound()?;
            }
        }
        self.layout.word(" {");
        self.cursor.expect("{")?;
        self.layout.hard_if_nonempty();
        while self.cursor.kind()? != Kind::Close {
            self.attributes()?;
            self.layout.group(INDENT);
            self.function(true)?;
        }
        self.cursor.expect("}")?;
        self.close();
        Some(())
    }

    fn implementation(&mut self) -> Option<()> {
        self.layout.group(INDENT);
        self.layout.fill(-INDENT);
        self.layout.group(INDENT);
        self.cursor.at += 1;
        self.layout.word("impl");
        self.type_parameters()?;
        self.layout.end();
        self.layout.word(" ");
        self.ty()?;
        if self.cursor.eat("for") {
            self.layout.space();
            self.layout.word("for ");
            self.ty()?;
        }
        self.layout.end();
        self.layout.word(" {");
        self.cursor.expect("{")?;
        self.layout.hard_if_nonempty();
        while self.cursor.kind()? != Kind::Close {
            self.attributes()?;
            let start = self.cursor;
            let public = self.cursor.eat("pub");
            if public && self.cursor.is("(") {
                return None;
            }
            if self.cursor.is("const") {
                self.cursor = start;
                self.constant()?;
            } else {
                self.layout.group(INDENT);
                self.visibility(public);
                self.function(false)?;
            }
        }
        self.cursor.expect("}")?;
        self.close();
        Some(())
    }
}
