"""The look of the admin: every class on our bases, a side bar of what one may see, both languages, where one is."""

from __future__ import annotations

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from foundation import admin_base, ids
from paysys import roles
from paysys.admin import navigation
from paysys.admin.site import DeskSite

pytestmark = pytest.mark.django_db(databases="__all__")


def client_of(*codenames: str, role: str = "", language: str = "zh-hans") -> Client:
    user = User.objects.create_user(ids.new_id()[:20], is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    user.groups.set(Group.objects.filter(name=role))
    client = Client(headers={"accept-language": language})
    client.force_login(user)
    return client


def address(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def test_the_site_is_ours() -> None:
    assert isinstance(admin.site._wrapped, DeskSite)  # type: ignore[attr-defined]


@pytest.mark.parametrize("model", list(admin.site._registry), ids=lambda model: model._meta.label)
def test_every_class_and_inline_stands_on_our_bases(model: type[Model]) -> None:
    shown = admin.site._registry[model]
    assert isinstance(shown, admin_base.ModelAdmin), type(shown)
    for inline in shown.inlines:
        assert issubclass(inline, (admin_base.TabularInline, admin_base.StackedInline)), inline


def test_every_list_has_its_domain() -> None:
    """The last group is for apps of tomorrow; no place is kept for a list that is gone."""
    registered = {model._meta.label for model in admin.site._registry}
    assert sorted(navigation.NAMED - registered) == []
    rest = registered - navigation.NAMED
    assert sorted(label for label in rest if label.partition(".")[0] not in navigation.HOMES) == []


def test_the_side_bar_shows_what_the_role_may_see_and_nothing_else() -> None:
    for role in roles.ROLES:
        client = client_of(role=role.name)
        answer = client.get(reverse("admin:index"))
        page = answer.content.decode()
        for model, shown in admin.site._registry.items():
            may = shown.has_view_or_change_permission(answer.wsgi_request)
            assert (f'href="{address(model)}"' in page) == may, (role.name, model._meta.label)


def test_a_stranger_to_all_of_it_sees_only_what_is_his_own() -> None:
    page = client_of().get(reverse("admin:index")).content.decode()
    assert f'href="{reverse("admin:foundation_staffnotice_changelist")}"' in page
    assert f'href="{reverse("admin:orders_orderindex_changelist")}"' not in page


@pytest.mark.parametrize(
    ("environment", "language", "badge"),
    [
        ("production", "zh-hans", "生产"),
        ("production", "en", "Production"),
        ("test", "zh-hans", "测试"),
        ("dev", "en", "Development"),
    ],
)
def test_the_badge_says_where_one_is(environment: str, language: str, badge: str, settings: Settings) -> None:
    settings.ENVIRONMENT = environment
    page = client_of(language=language).get(reverse("admin:index")).content.decode()
    assert badge in page
    assert (f"<title>[{badge}]" in page) == (environment != "production")


def test_staff_switch_the_language_and_it_stays() -> None:
    client = client_of()
    assert 'lang="zh-hans"' in client.get(reverse("admin:index")).content.decode()
    answer = client.post(reverse("set_language"), {"language": "en", "next": reverse("admin:index")})
    assert answer["Location"] == reverse("admin:index")
    assert 'lang="en"' in client.get(reverse("admin:index")).content.decode()


def test_chinese_is_what_staff_see_who_ask_for_no_language_of_ours() -> None:
    assert 'lang="zh-hans"' in client_of(language="fr").get(reverse("admin:index")).content.decode()
