//! The web page's files, to anybody: they hold nothing. What the page shows it asks for, with the token a person gives it.

use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::problem::Problem;
use crate::web::{self, Asset};

/// The page loads nothing from anywhere else, asks this server alone, runs no script and takes no style that is not a file
/// here, makes no markup of text, sends no form, and is framed by nobody.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// What goes with every file.
const HEADERS: [(header::HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    // Asked for anew every time, and not sent when it is the same: after an upgrade nobody sees half of the old page.
    (header::CACHE_CONTROL, "no-cache"),
    (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// The page a person meets first.
pub async fn page(headers: HeaderMap) -> Response {
    answer(web::find("index.html"), &headers, "/")
}

/// A file of the page.
pub async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    answer(web::find(&name), &headers, &format!("/web/{name}"))
}

fn answer(asset: Option<&Asset>, asked: &HeaderMap, path: &str) -> Response {
    let Some(asset) = asset else { return Problem::not_found(path).into_response() };
    let tag = asset.tag();
    let known = asked.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).is_some_and(|known| {
        known.split(',').map(str::trim).any(|known| known == "*" || known.trim_start_matches("W/") == tag)
    });
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, asset.kind)], asset.body).into_response()
    };
    let headers = response.headers_mut();
    headers.extend(HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value))));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(known: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_str(known).expect("a header"))])
    }

    #[tokio::test]
    async fn a_file_that_is_known_is_not_sent_again() {
        let first = page(HeaderMap::new()).await;
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(first.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        let tag = first.headers()[header::ETAG].to_str().expect("text").to_owned();
        for known in [tag.clone(), format!("\"other\", {tag}"), format!("W/{tag}"), "*".to_owned()] {
            let again = page(with(&known)).await;
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{known}");
            assert_eq!(again.headers()[header::ETAG], tag.as_str());
            assert_eq!(again.headers()[header::CONTENT_SECURITY_POLICY], POLICY);
        }
        assert_eq!(page(with("\"other\"")).await.status(), StatusCode::OK);
        let script = asset(Path("app.js".to_owned()), HeaderMap::new()).await;
        assert_eq!(script.headers()[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
        assert_ne!(script.headers()[header::ETAG], tag.as_str());
        assert_eq!(asset(Path("../Cargo.toml".to_owned()), HeaderMap::new()).await.status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn the_policy_lets_nothing_of_the_page_run_by_itself() {
        for word in ["unsafe", "data:", "blob:", "*", "http"] {
            assert!(!POLICY.contains(word), "{word}");
        }
    }
}
