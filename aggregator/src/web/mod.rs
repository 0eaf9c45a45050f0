//! The web page: hand-written modules, one style, no build step, nothing from anywhere else. The files are part of the
//! program; `api/assets.rs` hands them out.
//!
//! Read `app.js` first: it routes, and each page is a module beside it. `dom.js` is the only place that makes elements,
//! always from text and never from markup; `api.js` the only one that asks the server; `chart.js` draws.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// A file of the page.
#[derive(Debug)]
pub struct Asset {
    pub name: &'static str,
    /// Content type.
    pub kind: &'static str,
    pub body: &'static str,
}

impl Asset {
    /// The strong entity tag: the beginning of the content's hash.
    pub fn tag(&self) -> String {
        let hash = Sha256::digest(self.body);
        let mut tag = "\"".to_owned();
        for byte in hash.iter().take(16) {
            // Writing to a string does not fail.
            _ = write!(tag, "{byte:02x}");
        }
        tag.push('"');
        tag
    }
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! script {
    ($name:literal) => {
        Asset { name: $name, kind: SCRIPT, body: include_str!($name) }
    };
}

/// Every file there is.
pub const ASSETS: &[Asset] = &[
    Asset { name: "index.html", kind: "text/html; charset=utf-8", body: include_str!("index.html") },
    Asset { name: "style.css", kind: "text/css; charset=utf-8", body: include_str!("style.css") },
    Asset { name: "icon.svg", kind: "image/svg+xml", body: include_str!("icon.svg") },
    script!("theme.js"),
    script!("app.js"),
    script!("api.js"),
    script!("live.js"),
    script!("dom.js"),
    script!("words.js"),
    script!("chart.js"),
    script!("scale.js"),
    script!("dialogs.js"),
    script!("fleet.js"),
    script!("group.js"),
    script!("reasons.js"),
    script!("week.js"),
    script!("shadows.js"),
    script!("events.js"),
    script!("instances.js"),
    script!("models.js"),
    script!("access.js"),
    script!("audit.js"),
];

/// The file of a name.
pub fn find(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every file that an import, a link or a script names.
    fn named(asset: &Asset) -> Vec<&'static str> {
        let after = |mark: &'static str| asset.body.split(mark).skip(1);
        let modules = after("from './").chain(after("import('./")).filter_map(|rest| rest.split('\'').next());
        let files = after("\"/web/").filter_map(|rest| rest.split('"').next());
        modules.chain(files).collect()
    }

    #[test]
    fn every_file_is_named_by_another_and_every_name_is_a_file() {
        let named: Vec<&str> = ASSETS.iter().flat_map(named).collect();
        for name in &named {
            assert!(find(name).is_some(), "{name} is no file");
        }
        for asset in ASSETS.iter().filter(|asset| asset.name != "index.html") {
            assert!(named.contains(&asset.name), "nothing names {}", asset.name);
        }
    }

    /// What the page has no words for it would show as the bare word.
    #[test]
    fn every_hold_has_words_on_the_page() {
        let words = find("words.js").and_then(|asset| asset.body.split_once("export const HOLDS = {"));
        let (words, _) = words.and_then(|(_, rest)| rest.split_once("};")).expect("a map of holds");
        let named = include_str!("../../planner/src/hold.rs").split_once("pub const fn word(&self)").expect("words").1;
        let named = named.split_once("impl fmt::Display").expect("their end").0;
        let holds: Vec<&str> =
            named.lines().filter_map(|line| line.trim().split("=> \"").nth(1)?.split('"').next()).collect();
        assert!(holds.len() > 40, "{holds:?}");
        for hold in holds {
            assert!(words.contains(&format!("{hold}: '")), "{hold} has no words");
        }
    }

    #[test]
    fn nothing_makes_markup_of_text_or_comes_from_elsewhere() {
        for asset in ASSETS {
            for word in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "https://"]
            {
                assert!(!asset.body.contains(word), "{} has {word}", asset.name);
            }
        }
        // The names of SVG and of the page's own license of words are no addresses to load from.
        let foreign = ASSETS.iter().flat_map(|asset| asset.body.split("http://").skip(1));
        assert!(
            foreign.clone().all(|rest| rest.starts_with("www.w3.org/2000/svg")),
            "{:?}",
            foreign.collect::<Vec<_>>()
        );
    }
}
