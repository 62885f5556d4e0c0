//! Work that outlives its request: `waitUntil` of that request's context, 30 seconds at most.

use std::rc::Rc;
use std::time::Duration;

use driftlock_gateway::ports::Background;
use worker::{Context, ScheduleContext};

/// The context of one request, or of one run of the cron.
#[derive(Debug, Clone)]
pub(crate) struct RequestContext(Rc<Kind>);

#[derive(Debug)]
enum Kind {
    Request(Context),
    Cron(ScheduleContext),
}

impl From<Context> for RequestContext {
    fn from(context: Context) -> Self {
        Self(Rc::new(Kind::Request(context)))
    }
}

impl From<ScheduleContext> for RequestContext {
    fn from(context: ScheduleContext) -> Self {
        Self(Rc::new(Kind::Cron(context)))
    }
}

impl Background for RequestContext {
    fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        match &*self.0 {
            Kind::Request(context) => context.wait_until(work),
            Kind::Cron(context) => context.wait_until(work),
        }
    }

    async fn wait(&self, time: Duration) {
        worker::Delay::from(time).await;
    }
}
