//! What is done for a request on the pool: pictures and text prepared, the form of its answer
//! compiled, and all handed to the engine's thread.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Instant;

use ocelli_engine::{Generate, Grammar, Grammars};

use super::Ask;
use super::desk::ServiceOptions;
use super::pool::{Again, Held, Meter};
use super::preparing::{check_wait, generate, prepare, prepared_bytes, refuse};
use super::runner::{Command, Request};
use super::status::Status;
use super::updates::{Outlet, Update};
use crate::Error;
use crate::prepare::{Asked, Preparer, Wanted};
use crate::recognised::Files;

/// The part of a service that works on the pool.
pub(super) struct Desk {
    pub(super) preparer: Arc<Preparer>,
    pub(super) status: Arc<Status>,
    pub(super) commands: Sender<Command>,
    pub(super) grammars: Arc<Grammars>,
    pub(super) files: Arc<Files>,
    pub(super) compiling: Option<Again>,
    pub(super) meter: Arc<Meter>,
    pub(super) options: ServiceOptions,
    /// When the request was handed in.
    pub(super) since: Instant,
}

impl Desk {
    fn asked(&self, ask: &Ask, wanted: &dyn Fn() -> bool) -> Result<Asked, Error> {
        check_wait(self.since, &self.options)?;
        let ask = (ask, self.files.as_ref());
        let wanted = Wanted(Some(wanted));
        self.status.guarded("preparing a request", || {
            let own = (&self.options, self.status.as_ref());
            prepare(&self.preparer, ask, wanted, own)
        })
    }

    /// Prepares a request and passes it on: to the compiler, if its answer must have a form, and to
    /// the engine.
    pub(super) fn prepare(self, ask: Ask, outlets: Vec<Outlet>) {
        let wanted = || outlets.iter().any(|outlet| !outlet.is_dropped());
        let asked = match self.asked(&ask, &wanted) {
            Ok(asked) => asked,
            Err(error) => return refuse(outlets, &self.status, error),
        };
        let client = ask.client;
        let held = self.meter.keep(prepared_bytes(&asked.pictures));
        match (ask.grammar.clone(), self.compiling.clone()) {
            (Some(source), Some(compiling)) => {
                let compile = move || {
                    let in_time = check_wait(self.since, &self.options);
                    let compile = || Ok(self.grammars.compile(&source)?);
                    let compiled =
                        in_time.and_then(|()| self.status.guarded("compiling a grammar", compile));
                    match compiled {
                        _ if outlets.iter().all(Outlet::is_dropped) => {}
                        Ok(grammar) => self.submit(ask, (asked, Some(grammar)), outlets, held),
                        Err(error) => refuse(outlets, &self.status, error),
                    }
                };
                compiling.put(client, Box::new(compile));
            }
            _ => self.submit(ask, (asked, None), outlets, held),
        }
    }

    fn submit(
        self,
        ask: Ask,
        (asked, grammar): (Asked, Option<Grammar>),
        outlets: Vec<Outlet>,
        held: Held,
    ) {
        let Asked {
            prompt,
            pictures,
            prepared,
            videos,
            dropped,
        } = asked;
        let predict = || Ok(self.preparer.prediction(ask.prediction.as_deref()));
        let prediction = self.status.guarded("tokenizing a prediction", predict);
        let (tools, calls) = (ask.tools.clone(), ask.calls);
        let generate = generate(&self.preparer, ask, (prompt, pictures), grammar);
        let request = Request {
            dropped,
            videos: Arc::new(videos),
            tools,
            calls,
            times: (prepared.decode, prepared.preprocess),
            images: Arc::new(prepared.records),
            generate: Generate {
                // It is a help, not a need.
                prediction: prediction.unwrap_or_default(),
                ..generate
            },
            outlets,
            since: self.since,
            held,
        };
        // Without a thread the request is dropped with its outlets, which say so.
        let _ = self.commands.send(Command::Submit(Box::new(request)));
    }

    pub(super) fn look(&self, ask: &Ask, outlet: Outlet) {
        match self.asked(ask, &|| !outlet.is_dropped()) {
            Ok(asked) => {
                outlet.send(Update::Prepared {
                    prompt_tokens: asked.prompt.tokens.len(),
                    images: asked.prepared.records,
                    videos: asked.videos,
                    dropped: asked.dropped,
                });
                outlet.end();
            }
            Err(error) => refuse(vec![outlet], &self.status, error),
        }
    }
}
