//! Requests of a client agent's edges: they go to a server as they are.

use super::Endpoint;
use agent_core::model::request::{self, Consistency, Outcome, Request};
use std::future::Future;
use std::pin::Pin;
use std::time::Instant;

impl Endpoint {
    /// Serves a request as [`serve`](Self::serve) does. On a client what waits for the answer is
    /// the encoded request alone, so that a query that waits costs little.
    ///
    /// # Errors
    ///
    /// Those of [`serve`](Self::serve).
    pub fn serve_boxed(
        &self,
        request: Request,
    ) -> Pin<Box<dyn Future<Output = Outcome> + Send + '_>> {
        let options = &request.options;
        // Such a request may be asked twice.
        let may_repeat = options.consistency == Consistency::Stale && options.max_stale_ms > 0;
        if self.0.server.is_some() || may_repeat {
            return Box::pin(self.serve(request));
        }
        if let Err(error) = self.admit().and_then(|()| self.0.authorise(&request)) {
            return Box::pin(std::future::ready(Err(error)));
        }
        self.note_load(&request);
        let bytes = request::emit(&request).into_boxed_slice();
        let deadline = Instant::now() + self.0.call_time(&request);
        drop(request);
        Box::pin(async move {
            let sent = self.0.router.forward_any(&bytes, deadline).await;
            self.0.carried(sent).decode()
        })
    }
}
