"""The page table: what the app has, in the order of its menu."""

from aquilamed.web.pages import overview, review
from aquilamed.web.site import Page

PAGES: tuple[Page, ...] = (overview.PAGE, review.PAGE)
