#Requires -Version 5.1
#Requires -RunAsAdministrator
<#
.SYNOPSIS
  Undoes what Enable-MenderGateway.ps1 did, wholly or in part: task, port proxy, firewall rules, service, and .wslconfig.
.DESCRIPTION
  What is gone already is no mistake, and what somebody has changed since stays as it is. The gateway's container and its
  volumes stay. With -WhatIf it says what it would do.
#>
[CmdletBinding(SupportsShouldProcess)]
param(
  [switch]$KeepWslRunning  # a change of .wslconfig then counts from the next start of WSL
)
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'MenderGateway.psm1') -Force
$names = Get-GatewayNames
$state = Read-State
if ($null -eq $state) {
  # Broken off before the first change: the record's directory alone may be there.
  if ((Test-Path -LiteralPath $names.Directory) -and $PSCmdlet.ShouldProcess($names.Directory, 'remove')) { Remove-State }
  Write-Output 'nothing was set up'
  return
}
if (-not $PSCmdlet.ShouldProcess("TCP port $($state.Port), $($state.Mode)", 'remove rules, task and settings')) { return }

if ($state.Mode -eq 'Nat') {
  $task = Get-ScheduledTask -TaskName $names.Task -TaskPath '\' -ErrorAction SilentlyContinue
  if ($null -ne $task) {
    Stop-ScheduledTask -TaskName $names.Task -TaskPath '\'
    Unregister-ScheduledTask -TaskName $names.Task -TaskPath '\' -Confirm:$false
  }
  $state = Read-State  # the task may have renewed the port proxy until now
  foreach ($proxy in @(Get-PortProxies)) {
    if ($proxy.Port -ne $state.Port -or $proxy.Address -ne '0.0.0.0') { continue }
    if ($proxy.Target -eq $state.PortProxy) {
      & netsh.exe interface portproxy delete v4tov4 listenaddress=0.0.0.0 "listenport=$($state.Port)" | Out-Null
    }
    else { Write-Warning "the port proxy from 0.0.0.0:$($state.Port) to $($proxy.Target) is not of these scripts, and stays" }
  }
  Get-NetFirewallRule -Name $names.FirewallRule -ErrorAction SilentlyContinue | Remove-NetFirewallRule
  # Somebody who has set another start type since wants that.
  $service = Get-Service -Name $names.Service
  if ("$($service.StartType)" -eq 'Automatic') {
    if ($state.ServiceStatus -eq 'Stopped') { Stop-Service -Name $names.Service -ErrorAction Continue }
    if ($state.ServiceStart -ne 'Automatic') { Set-Service -Name $names.Service -StartupType $state.ServiceStart }
  }
}
else {
  Get-NetFirewallHyperVRule -Name $names.HyperVRule -ErrorAction SilentlyContinue | Remove-NetFirewallHyperVRule
  $text = Read-Config -Path $state.Config
  if ($null -ne $text -and $state.Before -cne $state.After) {
    $current = ConvertTo-Base64 -Text $text
    $before = ''
    if ($null -ne $state.Before) { $before = ConvertFrom-Base64 -Text $state.Before }
    if ($current -ceq $state.After) { $text = $before }
    elseif ($current -cne $state.Before) { $text = Clear-Mirrored -Text $text -Before $before }
    if ((ConvertTo-Base64 -Text $text) -cne $current) {
      if ($null -eq $state.Before -and $text -notmatch '\S') { Remove-Item -LiteralPath $state.Config -Force }
      else { Write-Config -Path $state.Config -Text $text }
      if (-not $KeepWslRunning) {
        & wsl.exe --shutdown
        Write-Output 'WSL was shut down: restart Docker Desktop now'
      }
    }
  }
}
Remove-State
Write-Output 'undone'
