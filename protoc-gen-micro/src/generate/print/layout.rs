//! Breaks lines: pieces of text, places where a line may end, and groups that break together.
//!
//! The algorithm is Derek Oppen's ("Prettyprinting", 1980) over pieces that are all there, with prettyplease's widths, so
//! that its layout comes out. Groups are consistent (all of their breaks end the line, or none) or not (each does if what
//! follows it would not fit).

/// The columns of a line, and those that a line has at least, however far it is indented.
const WIDTH: usize = 89;
const LEAST_WIDTH: usize = 60;

/// The indentation of what is inside of something.
pub(crate) const INDENT: isize = 4;

/// Wider than any line: what holds a break of this size ends its lines.
const HARD: usize = 0xffff;

/// The columns that are there for a line indented so far.
pub(crate) fn width(indent: usize) -> usize {
    WIDTH.saturating_sub(indent).max(LEAST_WIDTH)
}

/// Adds spaces.
pub(crate) fn spaces(out: &mut String, columns: usize) {
    out.extend(std::iter::repeat_n(' ', columns));
}

/// A place where a line may end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Break {
    /// The spaces that are there if it does not.
    pub(crate) blank: usize,
    /// Added to the indentation of the next line.
    pub(crate) offset: isize,
    /// What ends the line, and begins the next one.
    pub(crate) before: &'static str,
    pub(crate) after: &'static str,
    /// What is there if the line does not end.
    pub(crate) otherwise: &'static str,
    /// Whether it does not end the line, but is only where a group's width is measured to.
    pub(crate) never: bool,
    /// Whether it is not there at the end of a group.
    pub(crate) if_nonempty: bool,
}

#[derive(Clone, Copy, Debug)]
enum Piece<'t> {
    Text(&'t str),
    Break(Break),
    Begin { offset: isize, consistent: bool },
    End,
}

/// What is to be laid out.
#[derive(Debug, Default)]
pub(crate) struct Layout<'t> {
    pieces: Vec<Piece<'t>>,
    /// Used while printing: of each piece, the columns up to where the next line could begin.
    sizes: Vec<usize>,
    open: Vec<usize>,
}

/// A group that is being printed.
#[derive(Clone, Copy)]
enum Frame {
    Fits,
    Broken { indent: usize, consistent: bool },
}

// ===== impl Layout =====

impl<'t> Layout<'t> {
    pub(crate) fn word(&mut self, text: &'t str) {
        self.pieces.push(Piece::Text(text));
    }

    pub(crate) fn brk(&mut self, at: Break) {
        self.pieces.push(Piece::Break(at));
    }

    /// A line may end here, without a space if it does not.
    pub(crate) fn zero(&mut self) {
        self.brk(Break::default());
    }

    pub(crate) fn space(&mut self) {
        self.brk(Break {
            blank: 1,
            ..Break::default()
        });
    }

    /// The line ends here.
    pub(crate) fn hard(&mut self) {
        self.brk(Break {
            blank: HARD,
            ..Break::default()
        });
    }

    /// The line ends here unless the group does.
    pub(crate) fn hard_if_nonempty(&mut self) {
        self.brk(Break {
            blank: HARD,
            if_nonempty: true,
            ..Break::default()
        });
    }

    pub(crate) fn never(&mut self) {
        self.brk(Break {
            never: true,
            ..Break::default()
        });
    }

    /// A comma behind an element of a list: the last one has it only where the line ends.
    pub(crate) fn comma(&mut self, last: bool) {
        if last {
            self.brk(Break {
                before: ",",
                ..Break::default()
            });
        } else {
            self.word(",");
            self.space();
        }
    }

    /// Moves the next line of the break that has just been made.
    pub(crate) fn offset(&mut self, by: isize) {
        if let Some(Piece::Break(last)) = self.pieces.last_mut() {
            last.offset += by;
        }
    }

    /// Opens a group whose breaks go together.
    pub(crate) fn group(&mut self, offset: isize) {
        self.pieces.push(Piece::Begin {
            offset,
            consistent: true,
        });
    }

    /// Opens a group whose breaks are decided one by one.
    pub(crate) fn fill(&mut self, offset: isize) {
        self.pieces.push(Piece::Begin {
            offset,
            consistent: false,
        });
    }

    pub(crate) fn end(&mut self) {
        if let [.., before, Piece::Break(last)] = self.pieces.as_slice() {
            if matches!(before, Piece::Begin { .. }) {
                // Nothing in it.
                self.pieces.truncate(self.pieces.len() - 2);
                return;
            }
            if last.if_nonempty {
                self.pieces.pop();
            }
        }
        self.pieces.push(Piece::End);
    }

    /// Ends a group that may be no wider than this, however much space there is.
    pub(crate) fn end_within(&mut self, most: usize) {
        let mut depth = 0_usize;
        let mut width = 0_usize;
        for piece in self.pieces.iter().rev() {
            match piece {
                Piece::End => depth += 1,
                Piece::Begin { .. } if depth == 0 => break,
                Piece::Begin { .. } => depth -= 1,
                Piece::Break(at) => width += at.blank,
                Piece::Text(text) => width += text.len(),
            }
        }
        if width > most {
            self.brk(Break {
                blank: HARD,
                never: true,
                ..Break::default()
            });
        }
        self.end();
    }

    /// Appends all, indented so far, and forgets it.
    pub(crate) fn print(&mut self, indent: usize, out: &mut String) {
        self.measure();
        let mut frames = vec![Frame::Broken {
            indent,
            consistent: true,
        }];
        let mut indent = indent;
        // The first line begins indented.
        let mut space = width(indent).cast_signed();
        let mut pending = indent;
        for (piece, &size) in self.pieces.iter().zip(&self.sizes) {
            match *piece {
                Piece::Text(text) => {
                    spaces(out, pending);
                    pending = 0;
                    out.push_str(text);
                    space -= text.len().cast_signed();
                }
                Piece::Begin { offset, consistent } => {
                    if size.cast_signed() > space {
                        frames.push(Frame::Broken { indent, consistent });
                        indent = indent.saturating_add_signed(offset);
                    } else {
                        frames.push(Frame::Fits);
                    }
                }
                Piece::End => {
                    if let Some(Frame::Broken { indent: outer, .. }) = frames.pop() {
                        indent = outer;
                    }
                }
                Piece::Break(at) => {
                    let fits = at.never
                        || match frames.last() {
                            Some(Frame::Fits) => true,
                            Some(Frame::Broken { consistent, .. }) => {
                                !consistent && size.cast_signed() <= space
                            }
                            None => true,
                        };
                    if fits {
                        let blank = if at.never { 0 } else { at.blank };
                        pending += blank;
                        out.push_str(at.otherwise);
                        space -= (blank + at.otherwise.len()).cast_signed();
                        continue;
                    }
                    if !at.before.is_empty() {
                        spaces(out, pending);
                        out.push_str(at.before);
                    }
                    out.push('\n');
                    pending = indent.saturating_add_signed(at.offset);
                    space = width(pending).cast_signed();
                    if !at.after.is_empty() {
                        spaces(out, pending);
                        pending = 0;
                        out.push_str(at.after);
                        space -= at.after.len().cast_signed();
                    }
                }
            }
        }
        self.clear();
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.pieces.clear();
    }

    /// A group's or break's size reaches to the next break behind it that is not in a group opened later.
    fn measure(&mut self) {
        self.sizes.clear();
        self.sizes.resize(self.pieces.len(), 0);
        self.open.clear();
        let mut total = 0;
        for (index, piece) in self.pieces.iter().enumerate() {
            match piece {
                Piece::Text(text) => total += text.len(),
                Piece::Begin { .. } | Piece::Break(_) => {
                    if matches!(piece, Piece::Break(_)) {
                        settle(&self.pieces, &mut self.sizes, &mut self.open, total);
                    }
                    // Until it is known: where it began.
                    if let Some(size) = self.sizes.get_mut(index) {
                        *size = total;
                    }
                    self.open.push(index);
                    if let Piece::Break(at) = piece {
                        total += at.blank;
                    }
                }
                Piece::End => self.open.push(index),
            }
        }
        settle(&self.pieces, &mut self.sizes, &mut self.open, total);
    }
}

/// Gives their sizes to the groups that have ended, and to the breaks in them and before them.
fn settle(pieces: &[Piece<'_>], sizes: &mut [usize], open: &mut Vec<usize>, total: usize) {
    let mut depth = 0_usize;
    while let Some(&index) = open.last() {
        let (Some(piece), Some(size)) = (pieces.get(index), sizes.get_mut(index)) else {
            return;
        };
        match piece {
            Piece::End => depth += 1,
            Piece::Begin { .. } if depth == 0 => return,
            Piece::Begin { .. } => {
                *size = total - *size;
                depth -= 1;
            }
            Piece::Break(_) => {
                *size = total - *size;
                if depth == 0 {
                    open.pop();
                    return;
                }
            }
            Piece::Text(_) => {}
        }
        open.pop();
    }
}
