//! The page under `/ui/`: services, nodes, key/value store, all over the public API.
//!
//! Three files and no resource from elsewhere. How they are sent is a matter of `http`.

pub(crate) mod folder;

use std::sync::OnceLock;

/// One file of the page.
pub(crate) struct Asset {
    /// Path below `/ui/`.
    pub(crate) path: &'static str,
    /// `Content-Type`.
    pub(crate) kind: &'static str,
    /// Content.
    pub(crate) plain: &'static [u8],
    /// The same compressed, once somebody took it so.
    packed: OnceLock<Vec<u8>>,
}

impl Asset {
    /// Names a file.
    const fn new(path: &'static str, kind: &'static str, plain: &'static [u8]) -> Self {
        Self { path, kind, plain, packed: OnceLock::new() }
    }

    /// The content as `pack` makes it; made once.
    pub(crate) fn packed(&'static self, pack: fn(&[u8]) -> Vec<u8>) -> &'static [u8] {
        self.packed.get_or_init(|| pack(self.plain))
    }
}

/// The page itself stands first: it is also the answer to paths that only its script knows.
static ASSETS: [Asset; 3] = [
    Asset::new("index.html", "text/html; charset=utf-8", include_bytes!("index.html")),
    Asset::new("app.js", "text/javascript; charset=utf-8", include_bytes!("app.js")),
    Asset::new("style.css", "text/css; charset=utf-8", include_bytes!("style.css")),
];

/// Finds the file for a path below `/ui/`.
pub(crate) fn find(path: &str) -> &'static Asset {
    ASSETS.iter().find(|asset| asset.path == path).unwrap_or(&ASSETS[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_paths_get_the_page() {
        for path in ["", "dc1/services", "index.html"] {
            assert_eq!(find(path).path, "index.html");
        }
        assert_eq!(find("app.js").kind, "text/javascript; charset=utf-8");
    }

    #[test]
    fn the_page_takes_nothing_from_elsewhere() {
        for asset in &ASSETS {
            let text = std::str::from_utf8(asset.plain).unwrap();
            assert!(!text.contains("http://") && !text.contains("https://"), "{}", asset.path);
        }
    }
}
