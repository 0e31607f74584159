"""The finance desk: the admin site as staff use it all day.

`theme` sets the look, `site` is the site with search and desk, `navigation` the side bar by domains, `others`
gives the admin classes of libraries our bases. Admin classes themselves live in their apps, on `foundation.admin_base`.
Nothing here is imported by an app.
"""
