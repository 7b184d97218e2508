"""The API's side: one page of one collection at a time, and what is told to webhooks."""
