-- Events that nobody waits for: when each came, or was looked at last, so that the old ones are found.
CREATE INDEX stripe_events_settled ON stripe_events (due_at) WHERE state IN ('done', 'ignored');
