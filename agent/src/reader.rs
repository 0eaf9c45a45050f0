//! Reads TOML so that *every* fault is found in one go, each with file, line and key.
//!
//! Ours because serde stops at the first error: a tired operator would fix five typos in five
//! restarts. The document is parsed by `toml_edit`, which keeps the positions.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::Serialize;
use toml_edit::{Document, Item, TableLike, Value};

/// One fault in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    pub file: String,
    /// From 1; 0 when the fault is the file's as a whole.
    pub line: usize,
    /// Dotted path of the key, empty for the file as a whole.
    pub key: String,
    pub problem: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// A file being read and the faults found so far.
#[derive(Debug)]
pub struct Reader {
    file: String,
    text: String,
    pub faults: Vec<Fault>,
}

impl Reader {
    pub fn new(file: &str, text: &str) -> Self {
        Self { file: file.to_owned(), text: text.to_owned(), faults: Vec::new() }
    }

    /// Parses the text; a syntax error becomes the one fault.
    pub fn document(&mut self) -> Option<Document<String>> {
        match Document::parse(self.text.clone()) {
            Ok(document) => Some(document),
            Err(error) => {
                let line = error.span().map_or(0, |span| self.line(span));
                let here = self.text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
                let problem = remedied(error.message().trim(), here);
                self.fault(line, "", problem);
                None
            }
        }
    }

    pub fn fault(&mut self, line: usize, key: &str, problem: impl Into<String>) {
        let fault = Fault { file: self.file.clone(), line, key: key.to_owned(), problem: problem.into() };
        self.faults.push(fault);
    }

    fn line(&self, span: Range<usize>) -> usize {
        1 + self.text.bytes().take(span.start).filter(|byte| *byte == b'\n').count()
    }
}

/// What the parser says of a line, and what to do about the two faults that are made most.
fn remedied(said: &str, line: &str) -> String {
    let key = line.split('=').next().unwrap_or_default().trim();
    match said {
        "duplicate key" => format!("{key} is there twice: make one of both"),
        // As for 127.0.0.1:7070 or 5m.
        _ if said.starts_with("invalid ") && line.contains('=') => format!("{said}: text stands between \"quotes\""),
        _ => said.to_owned(),
    }
}

/// One table of the file. Every key that is read is known; [`Section::finish`] reports the others.
pub struct Section<'t> {
    path: String,
    table: Option<&'t dyn TableLike>,
    known: Vec<&'static str>,
    line: usize,
}

impl fmt::Debug for Section<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Section").field("path", &self.path).field("line", &self.line).finish_non_exhaustive()
    }
}

impl<'t> Section<'t> {
    pub fn root(document: &'t Document<String>) -> Self {
        Self { path: String::new(), table: Some(document.as_table()), known: Vec::new(), line: 1 }
    }

    /// Whether the table is in the file at all.
    pub fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// Whether a key is in the section, right or wrong.
    pub fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// The line the section or one of its keys stands on; the section's own line for an absent key.
    pub fn line_of(&self, reader: &Reader, key: &str) -> usize {
        self.table
            .and_then(|table| table.get_key_value(key))
            .and_then(|(key, item)| key.span().or_else(|| item.span()))
            .map_or(self.line, |span| reader.line(span))
    }

    /// The line of every key of this section and below, by its dotted path: for what is found wrong only when it is acted on.
    pub fn lines(&self, reader: &Reader) -> BTreeMap<String, usize> {
        let mut lines = BTreeMap::new();
        let Some(table) = self.table else { return lines };
        for (name, item) in table.iter() {
            let (line, path) = (self.line_of(reader, name), self.path_of(name));
            if let Some(table) = item.as_table_like() {
                let below = Section { path: path.clone(), table: Some(table), known: Vec::new(), line };
                lines.append(&mut below.lines(reader));
            }
            lines.insert(path, line);
        }
        lines
    }

    /// Dotted path of a key in this section.
    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// A fault at a key of this section.
    pub fn fault(&self, reader: &mut Reader, key: &str, problem: impl Into<String>) {
        let line = self.line_of(reader, key);
        reader.fault(line, &self.path_of(key), problem);
    }

    /// A fault of the section as such: its name.
    pub fn whole_fault(&self, reader: &mut Reader, problem: impl Into<String>) {
        reader.fault(self.line, &self.path, problem);
    }

    /// A sub-table; absent is an empty section.
    pub fn section(&mut self, reader: &mut Reader, key: &'static str) -> Section<'t> {
        self.known.push(key);
        let line = self.line_of(reader, key);
        let item = self.table.and_then(|table| table.get(key));
        let table = item.and_then(Item::as_table_like);
        if item.is_some() && table.is_none() {
            self.fault(reader, key, "must be a table");
        }
        Section { path: self.path_of(key), table, known: Vec::new(), line }
    }

    /// All sub-tables of a table of tables, such as `[group.NAME]`.
    pub fn sections(&mut self, reader: &mut Reader, key: &'static str) -> Vec<(String, Section<'t>)> {
        let parent = self.section(reader, key);
        let Some(table) = parent.table else { return Vec::new() };
        let mut found = Vec::new();
        for (name, item) in table.iter() {
            let line = parent.line_of(reader, name);
            let path = parent.path_of(name);
            match item.as_table_like() {
                Some(table) => {
                    found.push((name.to_owned(), Section { path, table: Some(table), known: Vec::new(), line }));
                }
                None => reader.fault(line, &path, "must be a table"),
            }
        }
        found
    }

    /// An optional value; `convert` says what is wrong with it.
    pub fn get<T>(
        &mut self,
        reader: &mut Reader,
        key: &'static str,
        convert: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        self.known.push(key);
        let item = self.table.and_then(|table| table.get(key))?;
        let converted = match item.as_value() {
            Some(value) => convert(value),
            None => Err("must be a value, not a table".to_owned()),
        };
        converted.map_err(|problem| self.fault(reader, key, problem)).ok()
    }

    /// Replaces `target` when the key is there and right.
    pub fn set<T>(
        &mut self,
        reader: &mut Reader,
        key: &'static str,
        target: &mut T,
        convert: impl FnOnce(&Value) -> Result<T, String>,
    ) {
        if let Some(value) = self.get(reader, key, convert) {
            *target = value;
        }
    }

    /// A map from free keys to values, such as `targets = { cpu = 60 }`.
    pub fn map<T>(
        &mut self,
        reader: &mut Reader,
        key: &'static str,
        convert: impl Fn(&str, &Value) -> Result<T, String>,
    ) -> Option<Vec<(String, T)>> {
        let section = self.section(reader, key);
        let table = section.table?;
        let mut found = Vec::new();
        for (name, item) in table.iter() {
            let converted = item.as_value().ok_or_else(|| "must be a value".to_owned()).and_then(|v| convert(name, v));
            match converted {
                Ok(value) => found.push((name.to_owned(), value)),
                Err(problem) => section.fault(reader, name, problem),
            }
        }
        Some(found)
    }

    /// Reports every key nobody asked for, with the nearest known one.
    pub fn finish(self, reader: &mut Reader) {
        let Some(table) = self.table else { return };
        for (name, _) in table.iter() {
            if self.known.contains(&name) {
                continue;
            }
            let nearest = self.known.iter().map(|known| (edits(name, known), known)).min();
            let problem = match nearest {
                Some((distance, known)) if distance <= 3 && distance < name.len() => {
                    format!("unknown key; did you mean {known:?}?")
                }
                _ => format!("unknown key; known here: {}", self.known.join(", ")),
            };
            self.fault(reader, name, problem);
        }
    }
}

/// Levenshtein distance, for "did you mean".
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (to, above) in b.iter().zip(row.iter_mut().skip(1)) {
            let cost = (diagonal + usize::from(from != *to)).min(left + 1).min(*above + 1);
            diagonal = *above;
            *above = cost;
            left = cost;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

/// Conversions for [`Section::get`]: each says what it wants.
pub mod want {
    use std::ops::RangeInclusive;

    use toml_edit::Value;

    pub fn text(value: &Value) -> Result<String, String> {
        match value.as_str() {
            Some("") => Err("must not be empty".to_owned()),
            Some(text) => Ok(text.to_owned()),
            None => Err(format!("must be a string, is {}", value.type_name())),
        }
    }

    pub fn boolean(value: &Value) -> Result<bool, String> {
        value.as_bool().ok_or_else(|| format!("must be true or false, is {}", value.type_name()))
    }

    pub fn whole(range: RangeInclusive<i64>) -> impl Fn(&Value) -> Result<i64, String> {
        move |value| match value.as_integer() {
            Some(number) if range.contains(&number) => Ok(number),
            Some(number) => Err(format!("{number} is not in {} to {}", range.start(), range.end())),
            None => Err(format!("must be a whole number, is {}", value.type_name())),
        }
    }

    /// A whole number that fits the field's type by its range.
    pub fn count(range: RangeInclusive<u32>) -> impl Fn(&Value) -> Result<u32, String> {
        let wide = whole(i64::from(*range.start())..=i64::from(*range.end()));
        move |value| wide(value).and_then(|number| u32::try_from(number).map_err(|error| error.to_string()))
    }

    pub fn number(range: RangeInclusive<f64>) -> impl Fn(&Value) -> Result<f64, String> {
        move |value| {
            #[allow(clippy::cast_precision_loss, reason = "configured numbers are small")]
            let number = value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64));
            match number {
                Some(number) if range.contains(&number) => Ok(number),
                Some(number) => Err(format!("{number} is not in {} to {}", range.start(), range.end())),
                None => Err(format!("must be a number, is {}", value.type_name())),
            }
        }
    }

    /// An array of strings.
    pub fn texts(value: &Value) -> Result<Vec<String>, String> {
        let array = value.as_array().ok_or_else(|| format!("must be an array, is {}", value.type_name()))?;
        array.iter().map(text).collect()
    }

    /// Anything with a `FromStr` that explains itself.
    pub fn parsed<T: std::str::FromStr>(value: &Value) -> Result<T, String>
    where
        T::Err: std::fmt::Display,
    {
        let text = text(value)?;
        text.parse().map_err(|error| format!("{text:?}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_found_with_its_line_and_key() {
        let text = "[listen]\naddres = \"x\"\n\n[store]\nhours = 0\nname = 3\n";
        let mut reader = Reader::new("a.toml", text);
        let document = reader.document().expect("it parses");
        let mut root = Section::root(&document);
        let mut listen = root.section(&mut reader, "listen");
        let address = listen.get(&mut reader, "address", want::text);
        listen.finish(&mut reader);
        let mut store = root.section(&mut reader, "store");
        let hours = store.get(&mut reader, "hours", want::count(1..=10));
        let name = store.get(&mut reader, "name", want::text);
        store.finish(&mut reader);
        root.finish(&mut reader);
        assert_eq!((address, hours, name), (None, None, None));
        let faults: Vec<String> = reader.faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            faults,
            [
                "a.toml:2: listen.addres: unknown key; did you mean \"address\"?",
                "a.toml:5: store.hours: 0 is not in 1 to 10",
                "a.toml:6: store.name: must be a string, is integer",
            ]
        );
    }

    #[test]
    fn every_key_has_its_line() {
        let reader = Reader::new("a.toml", "top = 1\n\n[listen]\naddress = \"x\"\n[a.b]\nc = { d = 1 }\n");
        let document = Document::parse(reader.text.clone()).expect("it parses");
        let lines = Section::root(&document).lines(&reader);
        for (key, line) in [("top", 1), ("listen", 3), ("listen.address", 4), ("a.b.c", 6), ("a.b.c.d", 6)] {
            assert_eq!(lines.get(key), Some(&line), "{key} in {lines:?}");
        }
    }

    #[test]
    fn a_syntax_error_names_its_line() {
        let mut reader = Reader::new("a.toml", "[listen]\naddress = \n");
        assert!(reader.document().is_none());
        assert_eq!(reader.faults.first().map(|fault| fault.line), Some(2));
    }

    #[test]
    fn what_is_there_twice_and_what_lacks_its_quotes_is_said() {
        let said = |text: &str| {
            let mut reader = Reader::new("a.toml", text);
            assert!(reader.document().is_none(), "{text}");
            reader.faults.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(said("[store]\na = 1\n[store]\nb = 1\n"), ["a.toml:3: [store] is there twice: make one of both"]);
        assert_eq!(said("[store]\na = 1\na = 2\n"), ["a.toml:3: a is there twice: make one of both"]);
        let bare = said("[listen]\naddress = 127.0.0.1:7070\n");
        assert!(
            bare[0].starts_with("a.toml:2: invalid ") && bare[0].ends_with("text stands between \"quotes\""),
            "{bare:?}"
        );
    }

    #[test]
    fn edits_are_counted() {
        assert_eq!(edits("addres", "address"), 1);
        assert_eq!(edits("minimun", "minimum"), 1);
        assert_eq!(edits("", "abc"), 3);
    }
}
