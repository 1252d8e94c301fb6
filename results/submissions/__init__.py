"""Submissions: what another group sends of a run, checked before it is merged and ranked."""
