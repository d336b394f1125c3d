//! The page under its content path (`/ui/` by default): the agent's own, or the files of a folder.

use super::connection::Body;
use super::head::Head;
use super::reply::{Audience, Page, finish, finish_asset, finish_text};
use super::{Settings, Site};
use crate::ui;
use crate::ui::folder::{self, Found};
use hyper::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use hyper::{Response, StatusCode};
use std::path::Path;

/// The page itself.
const INDEX: &str = "index.html";

/// What the agent's own page has for the content path.
const OWN_PATH: &str = "/ui/";

/// Serves a path that is no API's, if the page is there.
pub(super) async fn serve(settings: &Settings, path: &str, parts: &Head) -> Option<Response<Body>> {
    let site = settings.site.as_ref()?;
    let moved = |to: &str| {
        let page = Page::moved(&parts.method, to, parts.target.query());
        finish(page, Audience::Router, &parts.fields, &[])
    };
    let Some(rest) = path.strip_prefix(&*site.path) else {
        let leads_here = path == "/" || site.path.strip_suffix('/') == Some(path);
        return match &site.folder {
            _ if leads_here => Some(moved(&site.path)),
            Some(folder) if path == "/robots.txt" => {
                Some(from_folder(settings, site, folder, "robots.txt", parts).await)
            }
            Some(_) | None => None,
        };
    };
    Some(match &site.folder {
        Some(folder) => from_folder(settings, site, folder, rest, parts).await,
        None => own(site, rest, parts),
    })
}

/// Serves a file of the agent's own page.
fn own(site: &Site, rest: &str, parts: &Head) -> Response<Body> {
    let asset = ui::find(rest);
    if asset.path == INDEX && site.path != OWN_PATH {
        let text = std::str::from_utf8(asset.plain).expect("the page is text");
        let text = text.replace(&format!("\"{OWN_PATH}"), &format!("\"{}", site.path));
        return finish_text(text, asset.kind, &parts.method, &parts.fields);
    }
    finish_asset(asset, &parts.method, &parts.fields)
}

/// Serves a file of a folder.
async fn from_folder(
    settings: &Settings,
    site: &Site,
    folder: &Path,
    rest: &str,
    parts: &Head,
) -> Response<Body> {
    let found = folder::look(folder.to_owned(), rest.to_owned(), site.path.clone()).await;
    let page = match found {
        Found::File(kind, body) => {
            let page = Page { status: StatusCode::OK, kind, body, headers: Vec::new() };
            page.header(X_CONTENT_TYPE_OPTIONS, "nosniff").header(CACHE_CONTROL, "no-cache")
        }
        Found::Moved(to) => Page::sent_on(&to, parts.target.query()),
        Found::Nothing => Page::text(StatusCode::NOT_FOUND, "404 page not found\n"),
        Found::TooLarge => Page::text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the file cannot be read, or is larger than 16 MiB\n",
        ),
    };
    finish(page, Audience::Api, &parts.fields, &settings.response_headers)
}
