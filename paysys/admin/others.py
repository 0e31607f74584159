"""Admin classes of libraries on our bases: users, groups and schedules look and work as everything else."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest
from django_celery_beat.admin import (
    ClockedScheduleAdmin,
    CrontabScheduleAdmin,
    PeriodicTaskAdmin,
    PeriodicTaskForm,
    PeriodicTaskInline,
    TaskSelectWidget,
)
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)

from foundation import admin_base

THEIRS = (Group, User, PeriodicTask, ClockedSchedule, CrontabSchedule, IntervalSchedule, SolarSchedule)
for _model in THEIRS:
    admin.site.unregister(_model)


@admin.register(User)
class StaffUserAdmin(UserAdmin, admin_base.ModelAdmin):
    form = admin_base.UserChangeForm
    add_form = admin_base.UserCreationForm
    change_password_form = admin_base.PasswordChangeForm
    filter_horizontal = ()
    """The two-box widget of Django has faults for screen readers; whom a role suits is ticked instead."""

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "groups":
            kwargs["widget"] = admin_base.Checkboxes()
        return super().formfield_for_manytomany(db_field, request, **kwargs)


@admin.register(Group)
class StaffGroupAdmin(GroupAdmin, admin_base.ModelAdmin):
    """Roles. The shipped ones are made equal to paysys.roles after every migrate."""

    filter_horizontal = ()


class TaskSelect(admin_base.Select, TaskSelectWidget):
    """The registered tasks, as the library finds them."""


class ScheduledTaskForm(PeriodicTaskForm):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["task"].widget = admin_base.TextInput()
        self.fields["regtask"].widget = TaskSelect()


@admin.register(PeriodicTask)
class ScheduledTaskAdmin(PeriodicTaskAdmin, admin_base.ModelAdmin):
    form = ScheduledTaskForm
    change_form_template = None
    """The library's own brings an inline script, which the policy of our pages refuses."""


class ScheduledTasks(PeriodicTaskInline, admin_base.TabularInline):
    """What runs by a schedule, on the page of the schedule."""


@admin.register(ClockedSchedule)
class ClockedAdmin(ClockedScheduleAdmin, admin_base.ModelAdmin):
    inlines = (ScheduledTasks,)


@admin.register(CrontabSchedule)
class CrontabAdmin(CrontabScheduleAdmin, admin_base.ModelAdmin):
    inlines = (ScheduledTasks,)


@admin.register(IntervalSchedule)
class IntervalAdmin(admin_base.ModelAdmin):
    inlines = (ScheduledTasks,)


@admin.register(SolarSchedule)
class SolarAdmin(admin_base.ModelAdmin):
    inlines = (ScheduledTasks,)
