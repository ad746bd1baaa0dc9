"""Pictures for people: the page of `optiinfra report`, and the previews beside the assets' materializations."""
