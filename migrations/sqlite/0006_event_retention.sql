-- Finds old processed events. Their `due_at` is when they arrived or were last checked for removal.
CREATE INDEX stripe_events_settled ON stripe_events (due_at) WHERE state IN ('done', 'ignored');
