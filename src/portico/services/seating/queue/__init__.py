"""The waiting room: who wants to buy while many others do joins a queue, and is admitted in the order of arrival."""
