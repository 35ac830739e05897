"""The HTTP face: routes as data, schemas, the boundary that commits, problems, paging, conditions."""
