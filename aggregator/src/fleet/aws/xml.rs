//! Answers of the query APIs as a tree. Strict: what does not close is an error, not a short list.

use xmlparser::{ElementEnd, Token, Tokenizer};

/// Answers of EC2 are nested about ten deep.
const DEEPEST: usize = 32;

/// One element; attributes are not kept, the APIs put nothing into them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Element {
    pub name: String,
    pub text: String,
    pub children: Vec<Element>,
}

impl Element {
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "the answer is not UTF-8".to_owned())?;
        let mut open: Vec<Self> = Vec::new();
        let mut root = None;
        for token in Tokenizer::from(text) {
            match token.map_err(|error| format!("the answer is not XML: {error}"))? {
                Token::ElementStart { local, .. } => {
                    if root.is_some() || open.len() == DEEPEST {
                        return Err("the answer is not one XML element, or too deep".to_owned());
                    }
                    open.push(Self { name: local.as_str().to_owned(), ..Self::default() });
                }
                Token::ElementEnd { end: ElementEnd::Open, .. } => {}
                Token::ElementEnd { end, .. } => {
                    let Some(element) = open.pop() else { return Err("an XML element closes twice".to_owned()) };
                    if let ElementEnd::Close(_, name) = end
                        && name.as_str() != element.name
                    {
                        return Err(format!("XML: {} closes {}", name.as_str(), element.name));
                    }
                    match open.last_mut() {
                        Some(parent) => parent.children.push(element),
                        None => root = Some(element),
                    }
                }
                Token::Text { text } => {
                    if let Some(element) = open.last_mut() {
                        unescape(text.as_str(), &mut element.text)?;
                    }
                }
                Token::Cdata { text, .. } => {
                    if let Some(element) = open.last_mut() {
                        element.text.push_str(text.as_str());
                    }
                }
                Token::DtdStart { .. } | Token::EmptyDtd { .. } | Token::EntityDeclaration { .. } => {
                    return Err("the answer declares a document type".to_owned());
                }
                _ => {}
            }
        }
        root.filter(|_| open.is_empty()).ok_or_else(|| "the answer ends in the middle".to_owned())
    }

    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The element at the end of a path of names.
    pub fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |element, name| element.child(name))
    }

    /// The text of a child, when there is any.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.trim()).filter(|text| !text.is_empty())
    }

    /// The entries of a list below `path`: `item` in EC2, `member` in the others.
    pub fn list<'e>(&'e self, path: &[&str]) -> impl Iterator<Item = &'e Self> + use<'e> {
        let entries = self.at(path).map(|list| list.children.as_slice()).unwrap_or_default();
        entries.iter().filter(|entry| entry.name == "item" || entry.name == "member")
    }
}

fn unescape(text: &str, into: &mut String) -> Result<(), String> {
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        into.push_str(before);
        let Some((entity, after)) = after.split_once(';') else {
            return Err("an XML entity does not end".to_owned());
        };
        let number = |digits: &str, radix| u32::from_str_radix(digits, radix).ok().and_then(char::from_u32);
        let character = match entity {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            _ => match entity.strip_prefix("#x") {
                Some(digits) => number(digits, 16),
                None => entity.strip_prefix('#').and_then(|digits| number(digits, 10)),
            },
        };
        into.push(character.ok_or_else(|| format!("unknown XML entity {entity:?}"))?);
        rest = after;
    }
    into.push_str(rest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_texts_and_entities_are_read() {
        let answer =
            b"<?xml version=\"1.0\"?>\n<A xmlns=\"x\"><set><item><k>a &amp; b&#33;</k></item><item/><o/></set>\
                       <e><![CDATA[<raw>]]></e></A>";
        let root = Element::parse(answer).expect("it reads");
        let items: Vec<_> = root.list(&["set"]).map(|item| item.text_of("k")).collect();
        assert_eq!(items, [Some("a & b!"), None]);
        assert_eq!(root.text_of("e"), Some("<raw>"));
        assert_eq!(root.list(&["nothing"]).count(), 0);
    }

    #[test]
    fn what_is_cut_short_or_wrong_is_an_error_and_never_a_shorter_list() {
        let deep = "<a>".repeat(40) + &"</a>".repeat(40);
        for text in [
            "",
            "<A><set><item/>",
            "<A><set></A></set>",
            "<A/><B/>",
            "</A>",
            "<A>&nbsp;</A>",
            "<A>&lt</A>",
            "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
            deep.as_str(),
            "<!doctype html>\n<html lang=en>\n<title>500</title>",
        ] {
            assert!(Element::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
