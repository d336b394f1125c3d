//! A folder with a page of somebody's own, served as Consul serves one: paths that are no file get
//! its `index.html`, in which `{{.ContentPath}}` stands for the content path. Nothing outside the
//! folder is served, not by a link in it either.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes of a file of the folder: more than any script of a page has.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The page itself.
const INDEX: &str = "index.html";

/// What a path below the content path leads to.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// A file with its type.
    File(&'static str, Vec<u8>),
    /// Another path, relative to this one.
    Moved(String),
    /// Nothing: there is not even the page itself.
    Nothing,
    /// A file that is too large, or cannot be read.
    TooLarge,
}

/// Looks a clean path up in a folder, on a thread of its own.
pub(crate) async fn look(folder: PathBuf, rest: String, content_path: String) -> Found {
    let found = tokio::task::spawn_blocking(move || find(&folder, &rest, &content_path)).await;
    found.unwrap_or(Found::TooLarge)
}

/// Looks a clean path up in a folder.
fn find(folder: &Path, rest: &str, content_path: &str) -> Found {
    let last = rest.rsplit('/').next().unwrap_or_default();
    if last == INDEX {
        return Found::Moved("./".to_owned());
    }
    let Ok(folder) = fs::canonicalize(folder) else { return Found::Nothing };
    match place(&folder, rest) {
        Some(place) if place.is_dir() => {
            if !rest.is_empty() && !rest.ends_with('/') {
                return Found::Moved(format!("{last}/"));
            }
            match place_of(&folder, &place.join(INDEX)) {
                Some(index) => read(&folder, &index, content_path),
                None => page(&folder, content_path),
            }
        }
        Some(place) if !rest.ends_with('/') => read(&folder, &place, content_path),
        Some(_) | None => page(&folder, content_path),
    }
}

/// The page itself.
fn page(folder: &Path, content_path: &str) -> Found {
    match place_of(folder, &folder.join(INDEX)) {
        Some(index) => read(folder, &index, content_path),
        None => Found::Nothing,
    }
}

/// Finds what a path names in a folder.
fn place(folder: &Path, rest: &str) -> Option<PathBuf> {
    place_of(folder, &folder.join(rest.trim_matches('/')))
}

/// Follows links to what they name, unless that is outside the folder.
fn place_of(folder: &Path, path: &Path) -> Option<PathBuf> {
    fs::canonicalize(path).ok().filter(|place| place.starts_with(folder))
}

/// Reads a file; in the page itself the content path is filled in.
fn read(folder: &Path, path: &Path, content_path: &str) -> Found {
    let whole = || -> std::io::Result<Option<Vec<u8>>> {
        let file = File::open(path)?;
        let told = file.metadata()?;
        if !told.is_file() || told.len() > FILE_BYTES_MAX {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    };
    match whole() {
        Ok(Some(bytes)) if path == folder.join(INDEX) => {
            let text = String::from_utf8_lossy(&bytes);
            let text = text.replace("{{.ContentPath}}", content_path);
            let text = text.replace("{{ .ContentPath }}", content_path);
            Found::File(kind(path), text.into_bytes())
        }
        Ok(Some(bytes)) => Found::File(kind(path), bytes),
        Ok(None) | Err(_) => Found::TooLarge,
    }
}

/// Tells the type of a file by its name.
fn kind(path: &Path) -> &'static str {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    match ending.to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "txt" => "text/plain; charset=utf-8",
        "xml" => "text/xml; charset=utf-8",
        "json" | "map" => "application/json",
        "wasm" => "application/wasm",
        "pdf" => "application/pdf",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A folder with a page, a script, folders with and without a page, and links out of it.
    fn folder() -> PathBuf {
        let base = std::env::temp_dir().join(format!("reeve-page-{}", uuid::Uuid::new_v4()));
        let folder = base.join("ui");
        fs::create_dir_all(folder.join("sub")).unwrap();
        fs::create_dir_all(folder.join("bare")).unwrap();
        fs::write(folder.join(INDEX), "at {{ .ContentPath }} {{.ContentPath}}").unwrap();
        fs::write(folder.join("app.js"), "{{.ContentPath}}").unwrap();
        fs::write(folder.join("sub").join(INDEX), "sub").unwrap();
        fs::write(base.join("secret"), "secret").unwrap();
        symlink("../secret", folder.join("out")).unwrap();
        symlink("..", folder.join("up")).unwrap();
        symlink("app.js", folder.join("within.js")).unwrap();
        folder
    }

    #[test]
    fn files_are_found_and_nothing_outside_the_folder_is() {
        let folder = folder();
        let file = |kind, text: &str| Found::File(kind, text.into());
        let (html, js) = ("text/html; charset=utf-8", "text/javascript; charset=utf-8");
        let page = || file(html, "at /x/ /x/");
        for (rest, want) in [
            ("", page()),
            ("app.js", file(js, "{{.ContentPath}}")),
            ("within.js", file(js, "{{.ContentPath}}")),
            ("sub", Found::Moved("sub/".into())),
            ("sub/", file(html, "sub")),
            ("sub/index.html", Found::Moved("./".into())),
            ("index.html", Found::Moved("./".into())),
            ("bare/", page()),
            ("dc1/services", page()),
            ("app.js/", page()),
            ("out", page()),
            ("up/secret", page()),
            ("up/", page()),
            ("../secret", page()),
            ("/etc/passwd", page()),
        ] {
            assert_eq!(find(&folder, rest, "/x/"), want, "{rest}");
        }
        fs::remove_file(folder.join(INDEX)).unwrap();
        assert_eq!(find(&folder, "nope", "/x/"), Found::Nothing);
        fs::remove_dir_all(folder.parent().unwrap()).unwrap();
    }
}
