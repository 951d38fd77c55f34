"""Jobs on their way in and out: submitted, dispatched, followed."""
