"""The page table: what the app has, in the order of its menu."""

from aquilamed.web.pages import chat, compare, explore, overview, results, review
from aquilamed.web.site import Page

PAGES: tuple[Page, ...] = (overview.PAGE, explore.PAGE, chat.PAGE, compare.PAGE, review.PAGE, results.PAGE)
